"""Splits: no group on two sides, balance, repeatability, and refusals that name what is wrong."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split, make_split
from syndiff.errors import SyndiffError


def make_dataset(root: Path, group_sizes: list[int] | None, *, cases: int = 0, seed: int = 0) -> Dataset:
    """Tiny cases `000`, `001`, ... whose lesions differ in size from group to group."""
    random = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    lines = ["case,group"]
    number = 0
    for group, count in enumerate(group_sizes or [cases]):
        reach = random.integers(1, 9)
        for _ in range(count):
            mask = np.zeros((8, 8), np.uint8)
            mask[:reach, : random.integers(1, 9)] = 255
            Image.fromarray(np.full((8, 8, 3), number % 256, np.uint8)).save(root / f"images/{number:03d}.png")
            Image.fromarray(mask).save(root / f"masks/{number:03d}.png")
            lines.append(f"{number:03d},patient-{group}")
            number += 1
    if group_sizes:
        (root / "groups.csv").write_text("\n".join(lines) + "\n")
    return Dataset.open(root)


def groups_of(dataset: Dataset, side: tuple[str, ...]) -> set[str | None]:
    return {dataset[case_id].group for case_id in side}


def assert_whole(split: Split, dataset: Dataset) -> None:
    """Every case lies on exactly one side, sides are sorted and none is empty."""
    listed = [*split.train, *split.val, *split.test]
    assert sorted(listed) == [case.id for case in dataset.cases]
    for side in (split.train, split.val, split.test):
        assert side and list(side) == sorted(side)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=3, max_size=10), seed=st.integers(0, 1000))
def test_group_never_divides_a_group(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int) -> None:
    dataset = make_dataset(tmp_path_factory.mktemp("data"), sizes)
    split = make_split(dataset, seed=seed)
    assert split.method == "group" and not split.leaky
    assert_whole(split, dataset)
    sides = [groups_of(dataset, side) for side in (split.train, split.val, split.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_group_balances_cases_and_lesion_area_and_follows_the_seed(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [5 + number % 7 for number in range(25)])
    area = {case.id: dataset.load(case)[1].mean() for case in dataset.cases}
    splits = [make_split(dataset, method="group", seed=seed) for seed in range(5)]
    for split in splits:
        for side, share in ((split.train, 0.7), (split.val, 0.15), (split.test, 0.15)):
            assert abs(len(side) / len(area) - share) < 0.03
            assert abs(sum(area[case_id] for case_id in side) / sum(area.values()) - share) < 0.03
    assert len({split.test for split in splits}) == 5
    assert make_split(dataset, method="group", seed=3) == splits[3]


def test_group_works_without_any_annotation(tmp_path: Path) -> None:
    make_dataset(tmp_path, [2, 2, 2, 2])
    for path in (tmp_path / "masks").iterdir():
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    dataset = Dataset.open(tmp_path)
    assert_whole(make_split(dataset), dataset)


def test_too_few_groups_and_no_groups_are_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"2 groups \(patient-0, patient-1\).*at least one each"):
        make_split(make_dataset(tmp_path / "two", [4, 4]))
    with pytest.raises(SyndiffError, match=r"no groups\.csv.*by the method random"):
        make_split(make_dataset(tmp_path / "none", None, cases=5), method="group")


def test_random_is_seeded_and_marked_leaky_only_where_groups_are_known(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "plain", None, cases=40)
    split = make_split(dataset, seed=1)
    assert (split.method, split.leaky) == ("random", False)
    assert (len(split.train), len(split.val), len(split.test)) == (28, 6, 6)
    assert_whole(split, dataset)
    assert split == make_split(dataset, seed=1) != make_split(dataset, seed=2)
    grouped = make_dataset(tmp_path / "grouped", [4, 4, 4])
    assert make_split(grouped, method="random").leaky
    with pytest.raises(SyndiffError, match=r"2 cases.*at least three"):
        make_split(make_dataset(tmp_path / "pair", None, cases=2))


def test_random_488_is_for_612_cases(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"612.*has 5 cases"):
        make_split(make_dataset(tmp_path / "small", None, cases=5), method="random-488")
    dataset = make_dataset(tmp_path / "large", None, cases=612)
    split = make_split(dataset, method="random-488", seed=4)
    assert (len(split.train), len(split.val), len(split.test)) == (488, 62, 62)
    assert split.leaky
    assert_whole(split, dataset)


def test_pranet_takes_its_test_cases_from_the_list(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, None, cases=25)
    with pytest.raises(SyndiffError, match=r"pranet-test\.txt does not exist"):
        make_split(dataset, method="pranet")
    (tmp_path / "pranet-test.txt").write_text("003\n017\n008\n")
    split = make_split(dataset, method="pranet", seed=9)
    assert split.test == ("003", "008", "017") and split.leaky
    assert len(split.val) == 2
    assert_whole(split, dataset)
    (tmp_path / "pranet-test.txt").write_text("003\n999\n")
    with pytest.raises(SyndiffError, match=r"1 cases.*\(999\)"):
        make_split(dataset, method="pranet")


def test_an_unknown_method_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"kfold is unknown.*group, random"):
        make_split(make_dataset(tmp_path, None, cases=3), method="kfold")


def test_a_split_reads_back_as_it_was_written(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", [2, 3, 4])
    split = make_split(dataset)
    split.write(tmp_path / "split.json")
    read = Split.read(tmp_path / "split.json")
    assert read == split
    read.check(dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": ["000", "001"]}, "case 000 is listed in train and in test"),
        ({"val": ["002", "002"]}, "case 002 is listed in val and in val"),
        ({"val": []}, "val is empty"),
        ({"train": "000"}, "train must be a list of case ids"),
        ({"test": [1]}, "test must be a list of case ids"),
        ({"seed": "one"}, "seed must be of type int"),
        ({"notes": "mine"}, "is not a split"),
    ],
)
def test_a_damaged_split_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    good = {
        "method": "group",
        "seed": 0,
        "leaky": False,
        "dataset": "d",
        "fingerprint": "f",
        "train": ["000"],
        "val": ["002"],
        "test": ["001"],
    }
    path = tmp_path / "split.json"
    path.write_text(json.dumps({**good, **change}))
    with pytest.raises(SyndiffError, match=message) as raised:
        Split.read(path)
    assert str(path) in str(raised.value)


def test_a_split_that_does_not_fit_the_dataset_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [3, 3, 3])
    split = make_split(dataset)
    stranger = dataclasses.replace(split, test=("gone-1", "gone-2"))
    with pytest.raises(SyndiffError, match=r"names 2 cases.*\(gone-1, gone-2\)"):
        stranger.check(dataset)

    moved = dataclasses.replace(split, train=split.train[1:], test=tuple(sorted((split.train[0], *split.test))))
    with pytest.raises(SyndiffError, match=r"group patient-\d lies in both train and test.*Move its cases"):
        moved.check(dataset)
    dataclasses.replace(moved, leaky=True).check(dataset)

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(dataset["001"].image)
    with pytest.raises(SyndiffError, match=f"{split.fingerprint[:12]}.*{dataset.fingerprint()[:12]}"):
        split.check(dataset)


def test_another_threshold_is_another_dataset_to_a_split(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [2, 3, 4])
    split = make_split(dataset, seed=3)
    (tmp_path / "dataset.json").write_text(json.dumps({"name": dataset.name, "mask_threshold": 200}))
    with pytest.raises(SyndiffError, match=r"mask_threshold.*made the split.*--method group --seed 3"):
        split.check(Dataset.open(tmp_path))
    again = make_split(Dataset.open(tmp_path), seed=3)
    assert dataclasses.replace(again, fingerprint=split.fingerprint) == split


def test_the_published_list_may_begin_with_the_mark_of_an_editor(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, None, cases=6)
    (tmp_path / "pranet-test.txt").write_text("000\n003\n", encoding="utf-8-sig")
    assert make_split(dataset, method="pranet").test == ("000", "003")


@pytest.mark.real
def test_cvc_sequences_stay_whole_and_balanced(cvc: Path) -> None:
    dataset = Dataset.open(cvc)
    split = make_split(dataset)
    assert_whole(split, dataset)
    sides = [groups_of(dataset, side) for side in (split.train, split.val, split.test)]
    assert sum(map(len, sides)) == 29
    for side, share in zip((split.train, split.val, split.test), (0.7, 0.15, 0.15), strict=True):
        assert abs(len(side) / 612 - share) <= 0.02
    published = make_split(dataset, method="pranet")
    assert (len(published.train), len(published.val), len(published.test)) == (495, 55, 62)
    assert published.leaky and groups_of(dataset, published.test) <= groups_of(dataset, published.train)
