"""LabelMe, laid out as labelme 5 saves its files."""

import base64
import copy
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from annotated import box, drawn, imported, picture, survives, written
from damage import damaged
from syndiff.errors import SyndiffError


def png(mask: object) -> str:
    stored = io.BytesIO()
    Image.fromarray(np.asarray(mask, bool)).save(stored, "PNG")
    return base64.b64encode(stored.getvalue()).decode()


def shape(kind: str, points: object, label: str = "polyp", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind,
            "flags": {}, "mask": None, **more}  # fmt: skip


CONTENT: dict[str, Any] = {
    "version": "5.5.0",
    "flags": {"blurred": True, "checked": False},
    "shapes": [
        shape("polygon", [[1, 1], [3.0, 1], [3, 3], [1, 3]]),
        shape("rectangle", [[9, 5], [7, 3]], "instrument"),
        shape("circle", [[4, 7], [6, 7]]),
        shape("mask", [[10.0, 8.0], [11.0, 9.0]], mask=png([[1, 0], [1, 1]])),
        shape("point", [[1, 1]]),
        shape("linestrip", [[1, 1], [2, 2]]),
    ],
    "imagePath": "a.png",
    "imageData": None,
    "imageHeight": 10,
    "imageWidth": 12,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    picture(tmp_path / "labelme" / "a.png")
    picture(tmp_path / "labelme" / "b.png")
    written(tmp_path / "labelme" / "a.json", CONTENT)
    return tmp_path / "labelme"


def change(source: Path, *shapes: dict[str, Any], **changes: Any) -> Path:
    return written(source / "a.json", {**copy.deepcopy(CONTENT), **({"shapes": shapes} if shapes else {}), **changes})


def test_every_kind_of_shape(source: Path, tmp_path: Path) -> None:
    report = imported(source, tmp_path / "out", "labelme")
    masks = drawn(tmp_path / "out")["a"]
    circle = box(5, 2, 9, 6)
    circle[[5, 5, 8, 8], [2, 5, 2, 5]] = False
    patch = box(8, 10, 10, 12)
    patch[8, 11] = False
    assert np.array_equal(masks["polyp"], box(1, 1, 3, 3) | circle | patch)
    assert np.array_equal(masks["instrument"], box(3, 7, 5, 9))
    assert list(masks) == ["instrument", "polyp"]  # labelme lists no labels: by name
    assert report.left == {
        "point, which has no area": 1,
        "linestrip, which has no area": 1,
        "picture without a JSON, which nobody has annotated": 1,
    }
    assert report.notes == ["flags are not read; set are blurred (1)"]


def test_background_takes_away_what_was_drawn_before(source: Path, tmp_path: Path) -> None:
    hole, later = [[2, 2], [4, 4]], [[3, 3], [4, 4]]
    several = shape("rectangle", [[1, 1], [6, 6]]), shape("rectangle", hole, "_background_"), shape("rectangle", later)
    change(source, *several)
    imported(source, tmp_path / "out", "labelme")
    assert np.array_equal(drawn(tmp_path / "out")["a"]["polyp"], box(1, 1, 6, 6) & ~box(2, 2, 4, 4) | box(3, 3, 4, 4))


def test_the_picture_may_lie_in_the_json_alone(source: Path, tmp_path: Path) -> None:
    content = (source / "a.png").read_bytes()
    (source / "a.png").unlink()
    for path in ("a.png", "..\\..\\desktop\\a.png", "C:\\Users\\me\\a.png", None):
        change(source, imagePath=path, imageData=base64.b64encode(content).decode())
        out = tmp_path / f"out {path}"[:8]
        imported(source, out, "labelme")
        assert (out / "images" / "a.png").read_bytes() == content
        shutil.rmtree(out)
    for data, words in (
        ("????", "no base64"),
        ("AAAA", "a.json: the picture inside it is damaged"),
        (7, "expected"),
    ):
        change(source, imageData=data)
        with pytest.raises(SyndiffError, match=words):
            imported(source, tmp_path / "out", "labelme")


def test_folders_of_pictures(source: Path, tmp_path: Path) -> None:
    picture(source / "img" / "p1" / "a.png")
    (source / "a.json").unlink()
    written(source / "ann" / "p1" / "a.json", {**CONTENT, "imagePath": "..\\..\\img\\p1\\a.png"})
    assert imported(source, tmp_path / "out", "labelme").names == {"a": "ann/p1/a.png"}
    written(source / "ann" / "p1" / "a.json", {**CONTENT, "imagePath": "../../../../a.png"})
    with pytest.raises(SyndiffError, match="leads out of the folder"):
        imported(source, tmp_path / "new", "labelme")
    assert imported(source / "ann", tmp_path / "new", "labelme", images=source / "img").names


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (shape("polygon", [[1, 1], [2]]), r"found the point \[2\]"),
        (shape("polygon", [[1, 1], [2, "a"]]), "found 'a'"),
        (shape("polygon", [[1, 1]], "  "), "its label is empty"),
        (shape("polygon", [[1, 1], [5, 1], [5, 5]], "__ignore__"), "cannot hold pixels to be ignored"),
        (shape("star", [[1, 1]]), "shape_type is 'star'"),
        (shape("circle", [[1, 1]]), "a circle has 1 points, expected two"),
        (shape("mask", [[0, 0], [1, 1]]), "its mask is None"),
        (shape("mask", [[0, 0], [1, 1]], mask="AAAA"), "is no PNG that can be read"),
        (shape("mask", [[0, 0], [4, 1]], mask=png([[1, 1]])), "is 2x1 pixels, but its two points span 5x2"),
        (shape("mask", [[0, 0], [1e9, 1e9]], mask=png([[1, 1]])), "is 2x1 pixels"),
        ({"label": "a"}, "lacks 'points'"),
    ],
)
def test_wrong_shapes_are_refused(source: Path, tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    change(source, wrong)
    with pytest.raises(SyndiffError, match=rf"a\.json, shape 1: .*{words}|a\.json, shape 1 {words}"):
        imported(source, tmp_path / "out", "labelme")


def test_two_files_of_one_picture_are_refused(source: Path, tmp_path: Path) -> None:
    written(source / "second reader.json", CONTENT)
    with pytest.raises(SyndiffError, match=r"a\.png is annotated twice \(.*a\.json; .*second reader\.json\)"):
        imported(source, tmp_path / "out", "labelme")


def test_wrong_files_are_refused(source: Path, tmp_path: Path) -> None:
    change(source, imageWidth=None)
    with pytest.raises(SyndiffError, match="its size is None x 10"):
        imported(source, tmp_path / "out", "labelme")
    written(source / "a.json", {"flags": {}})
    with pytest.raises(SyndiffError, match="holds no JSON of labelme"):
        imported(source, tmp_path / "out", "labelme")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_read_or_refused_with_words(source: Path, data: st.DataObject) -> None:
    path = change(source)
    path.write_bytes(data.draw(damaged(path)))
    survives(source, "labelme")
