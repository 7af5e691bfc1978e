"""Shards of a synthesis make exactly what one run makes, whatever happens to them on the way."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from grey import Grey, settings_of
from hypothesis import given
from hypothesis import strategies as st

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.finish import SynthesisSummary
from syndiff.synthesis.shards import Shard, merge_shards

Maker = Callable[..., Dataset]


def make(dataset: Dataset, out: Path, count: int, **changes: Any) -> SynthesisSummary:
    arguments: dict[str, Any] = {"inpainter": Grey(2, fails=3), "seed": 3, "progress": False} | changes
    ids = [case.id for case in dataset.cases]
    settings = settings_of(arguments)
    return synthesize_cases(dataset, ids, arguments.pop("inpainter"), out, settings, count=count, **arguments)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def make_shards(dataset: Dataset, root: Path, count: int, of: int, **changes: Any) -> list[Path]:
    folders = [root / f"shard-{i}" for i in range(1, of + 1)]
    for i, folder in enumerate(folders, 1):
        make(dataset, folder, count, shard=Shard(i, of), **changes)
    return folders


def merge_all(dataset: Dataset, shards: list[Path], out: Path, count: int, **changes: Any) -> SynthesisSummary:
    """Merge, and run the shards on as the message says until their attempts suffice."""
    asked = count
    for _ in range(5):
        try:
            return merge_shards(shards, out, dataset, count=count)
        except SyndiffError as error:
            assert not out.exists() or not (out / "dataset.json").exists()
            more = re.search(r"--count (\d+)", str(error))
            assert more and int(more[1]) > asked - 1, error
            asked = max(asked + 1, int(more[1]))
            make_shards(dataset, shards[0].parent, asked, len(shards), **changes)
    raise AssertionError("the shards never sufficed")


@pytest.mark.parametrize("of", [2, 3])
def test_the_union_of_shards_is_the_whole_run_byte_for_byte(make_dataset: Maker, tmp_path: Path, of: int) -> None:
    dataset = make_dataset()
    whole = make(dataset, tmp_path / "whole", 9)
    assert whole.reasons  # some are rejected, or the test shows little
    shards = make_shards(dataset, tmp_path, 9, of)
    merged = merge_all(dataset, list(reversed(shards)), tmp_path / "merged", 9)
    assert merged == SynthesisSummary(tmp_path / "merged", whole.account, whole.likeness)
    assert content(tmp_path / "merged") == content(tmp_path / "whole")
    merge_shards(shards, tmp_path / "merged", dataset, count=9)  # again: nothing changes
    assert content(tmp_path / "merged") == content(tmp_path / "whole")
    assert not (shards[0] / "dataset.json").exists()  # a shard is no finished dataset


@given(of=st.integers(1, 5), size=st.integers(1, 4))
def test_every_attempt_is_of_one_shard_and_batches_stay_whole(of: int, size: int) -> None:
    made = [[Shard(i, of).attempt(position, size) for position in range(6 * size)] for i in range(1, of + 1)]
    assert sorted(index for part in made for index in part) == list(range(6 * size * of))
    assert all(len({index // size for index in part[b : b + size]}) == 1 for part in made for b in range(0, 6, size))


def test_shards_painted_into_lesion_free_frames_are_merged_with_them(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "merged"
    free, other = (str(make_dataset(count, lesions=False, groups=False, name=f"free{count}").root) for count in (3, 4))
    shards = make_shards(dataset, tmp_path, 4, 2, backgrounds=free)
    for wrong, words in (("", "is not given"), (other, "names other ones")):
        with pytest.raises(SyndiffError, match=words):
            merge_shards(shards, out, dataset, count=2, backgrounds=wrong)
        assert not out.exists()
    merge_shards(shards, out, dataset, count=2, backgrounds=free)
    assert (out / "contact_sheet.png").is_file()
    (tmp_path / "plain").mkdir()
    with pytest.raises(SyndiffError, match="leave --backgrounds out"):
        shards = make_shards(dataset, tmp_path / "plain", 4, 2)
        merge_shards(shards, tmp_path / "none", dataset, count=2, backgrounds=free)


def run_slowly(root: Path, out: Path) -> None:
    make(Dataset.open(root), out, 9, inpainter=Grey(2, fails=3, seconds=0.02), shard=Shard(1, 2))


def test_a_killed_shard_goes_on_and_a_second_process_is_refused(
    forked: ModuleType, make_dataset: Maker, tmp_path: Path
) -> None:
    dataset = make_dataset()
    shards = [tmp_path / "shard-1", tmp_path / "shard-2"]
    manifest = shards[0] / "manifest.jsonl"
    run = forked.start(run_slowly, dataset.root, shards[0])
    while run.is_alive() and not (manifest.exists() and manifest.read_bytes().count(b"\n") >= 2):
        time.sleep(0.001)
    with pytest.raises(SyndiffError, match=rf"in use by process {run.pid} on"):
        make(dataset, shards[0], 9, shard=Shard(1, 2))
    with pytest.raises(SyndiffError, match="in use"):
        merge_shards(shards[:1], tmp_path / "merged", dataset, count=9)
    forked.kill(run)
    assert (shards[0] / ".lock").exists()  # left by the kill, and in nobody's way
    with manifest.open("ab") as file:
        file.write(b'{"id": "synthetic-0000')  # cut in the middle of a line
    make_shards(dataset, tmp_path, 9, 2)
    assert not (shards[0] / ".lock").exists()
    merge_all(dataset, shards, tmp_path / "merged", 9)
    make(dataset, tmp_path / "whole", 9)
    assert content(tmp_path / "merged") == content(tmp_path / "whole")


def test_shards_that_do_not_fit_together_are_named(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset()
    one, _ = make_shards(dataset, tmp_path, 4, 2)
    make(dataset, tmp_path / "other seed", 4, shard=Shard(2, 2), seed=4)
    make(dataset, tmp_path / "of three", 4, shard=Shard(2, 3))
    make(dataset, tmp_path / "whole", 4)

    def refused(message: str, *shards: Path, out: str = "merged") -> None:
        with pytest.raises(SyndiffError, match=message):
            merge_shards(shards, tmp_path / out, dataset, count=4)

    refused("Shard 2/2 is missing", one)
    refused(r"seed was 3 and is now 4", one, tmp_path / "other seed")
    refused("one of 3 shards", one, tmp_path / "of three")
    refused("is no shard", one, tmp_path / "whole")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(SyndiffError, match="holds shard 1/2 of a synthesis; go on with --shard 1/2"):
        make(dataset, one, 4)
    with pytest.raises(SyndiffError, match="but this is shard 2/2"):
        make(dataset, one, 4, shard=Shard(2, 2))
    with pytest.raises(SyndiffError, match=r"made in batches of 2, .* in batches of 1"):
        make(dataset, one, 4, shard=Shard(1, 2), inpainter=Grey(1, fails=3))
    with pytest.raises(SyndiffError, match="holds a whole synthesis"):
        make(dataset, tmp_path / "whole", 4, shard=Shard(1, 2))


def test_shards_that_end_too_early_are_named_with_what_to_run(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset()
    shards = make_shards(dataset, tmp_path, 4, 2)
    with pytest.raises(
        SyndiffError, match=r"of 20 accepted samples up to attempt \d+, where shard [12]/2 .*--count 3\d"
    ):
        merge_shards(shards, tmp_path / "merged", dataset, count=20)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_what_is_no_shard_is_said(text: str) -> None:
    with pytest.raises(SyndiffError, match="expected i/n"):
        Shard.parse(text)
