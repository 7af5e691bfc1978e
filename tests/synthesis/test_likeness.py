"""A synthetic set is held against the real lesions: what differs is said, what is like them is not called different."""

import json
from pathlib import Path

import numpy as np
import pytest

from syndiff.errors import SyndiffError
from syndiff.synthesis.likeness import REAL, WORDS, Likeness
from syndiff.synthesis.manifest import Sample, read_manifest


def lesion(area: float, **changes: float) -> dict[str, float]:
    return {"area": area, "elongation": 1.0 + 3 * area, "distance": 0.4, "edge": 0.0, "contrast": 2 * area} | changes


def keep_real(folder: Path, count: int = 60) -> list[dict[str, float]]:
    areas = np.random.default_rng(0).lognormal(-2.5, 0.6, count)
    rows = [lesion(round(float(area), 5), distance=round(float(area), 5)) for area in areas]
    content = {"lesions": [{"group": f"g{i % 6}"} | row for i, row in enumerate(rows)]}
    (folder / REAL).write_text(json.dumps(content))
    return rows


def sample(index: int, lesions: list[dict[str, float]] | None, quarter: int = 1) -> Sample:
    placed = lesions is not None
    return Sample(
        id=f"synthetic-{index:06d}",
        source_case="c0" if placed else None,
        placement={"target": {"area": 0.1, "edge": 0.0, "distance": 0.1, "quarter": quarter}},
        backend={},
        settings={},
        accepted=placed,
        reason=None if placed else "no place found for a lesion",
        lesions=lesions,
        versions={},
    )


def test_lesions_drawn_from_the_real_ones_are_like_them_and_small_ones_are_called_smaller(tmp_path: Path) -> None:
    real = keep_real(tmp_path)
    same = Likeness.of(tmp_path, [sample(i, [row]) for i, row in enumerate(real[::2])])
    assert not any(each.differs for each in same.measures.values())
    assert same.sentences == [
        "New lesions are like the real ones in size, shape, place and contrast, as far as chance lets."
    ]
    small = [sample(i, [row | {"area": row["area"] / 4}]) for i, row in enumerate(real)]
    found = Likeness.of(tmp_path, small)
    assert [name for name, each in found.measures.items() if each.differs] == ["area"]
    assert found.sentences[0].startswith("New lesions are smaller than the real ones (size")
    assert found.measures["area"].chance < found.measures["area"].patients < found.measures["area"].distance
    assert all(name in found.table() for name in WORDS)


def test_a_measure_in_which_all_real_lesions_are_alike_differs_as_soon_as_a_new_one_does(tmp_path: Path) -> None:
    real = keep_real(tmp_path)  # none is cut by the edge of the view
    new = [sample(i, [row | {"edge": 0.3 * (i == 0)}]) for i, row in enumerate(real)]
    found = Likeness.of(tmp_path, new)
    assert found.measures["edge"].distance is None and "more cut by the edge" in found.sentences[0]
    found.write(tmp_path)
    assert json.loads((tmp_path / "likeness.json").read_text())["sentences"] == found.sentences


def test_sizes_that_found_no_place_are_counted_by_quarter(tmp_path: Path) -> None:
    real = keep_real(tmp_path)
    samples = [sample(i, [real[i]] if i % 4 else None, 1 + i % 4) for i in range(16)]
    found = Likeness.of(tmp_path, samples)
    assert [(row["attempts"], row["no_place"], row["accepted"]) for row in found.quarters] == [(4, 4, 0)] + 3 * [
        (4, 0, 4)
    ]
    assert (
        found.sentences[-1].startswith("Size quarter 1 (") and "4 of 4 attempts found no place" in found.sentences[-1]
    )
    nothing = Likeness.of(tmp_path, [sample(0, None)])
    assert not nothing.measures and nothing.new == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ('{"lesions": []}', "holds no lesion"),
        ('{"lesions": [3]}', "lesion 0 is no object"),
        ('{"lesions": [{"group": "a", "area": "big"}]}', "lesion 0"),
    ],
)
def test_damaged_measures_are_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / REAL).write_text(content)
    with pytest.raises(SyndiffError, match=words):
        Likeness.of(tmp_path, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lesions": [{"area": "big"}]}, "lesions"),
        ({"placement": {"target": {"area": 0.1, "edge": 0.0, "distance": 0.1, "quarter": 9}}}, "names quarter 9"),
        ({"placement": {"target": {"area": 0.1}}}, "placement.target lacks"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    line = vars(sample(0, [lesion(0.1)])) | {"backend": {"name": "grey", "hash": None}}
    del line["caption"]
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps(line) + "\n")
    assert [each.lesions for each in read_manifest(path)] == [[lesion(0.1)]]
    path.write_text(json.dumps(line | change) + "\n")
    with pytest.raises(SyndiffError, match=words):
        list(read_manifest(path))
