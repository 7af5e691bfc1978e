"""VIA 2, laid out as VIA 2.0.11 saves projects and exports annotations."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotated import box, drawn, imported, picture, survives, written
from damage import damaged
from syndiff.errors import SyndiffError

POLYGON = {"name": "polygon", "all_points_x": [1, 3, 3, 1], "all_points_y": [1, 1, 3, 3]}
RECT = {"name": "rect", "x": 7, "y": 3, "width": 2, "height": 2}
CIRCLE = {"name": "circle", "cx": 4, "cy": 7, "r": 2}
ELLIPSE = {"name": "ellipse", "cx": 9, "cy": 7, "rx": 3, "ry": 1, "theta": 1.5708}
POINT = {"name": "point", "cx": 1, "cy": 1}


def region(shape: Any, label: Any = "polyp") -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": {"type": label}}


def images(*regions: dict[str, Any], name: str = "a.png") -> dict[str, Any]:
    one = {"filename": name, "size": 2000, "regions": list(regions), "file_attributes": {"caption": ""}}
    return {f"{name}2000": one, "b.png-1": {"filename": "b.png", "size": -1, "regions": [], "file_attributes": {}}}


ALL = (region(POLYGON), region(RECT, "instrument"), region(CIRCLE), region(ELLIPSE, "instrument"), region(POINT))


PROJECT = {
    "_via_settings": {"core": {"default_filepath": ""}, "project": {"name": "polyps"}},
    "_via_img_metadata": images(*ALL),
    "_via_attributes": {
        "region": {"type": {"type": "radio", "options": {"polyp": "", "instrument": "", "other": ""}}},
        "file": {},
    },
    "_via_data_format_version": "2.0.10",
    "_via_image_id_list": ["a.png2000", "b.png-1"],
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "via" / name)
    return written(tmp_path / "via" / "project.json", PROJECT)


def check(out: Path) -> None:
    masks = drawn(out)
    circle = box(5, 2, 9, 6)
    circle[[5, 5, 8, 8], [2, 5, 2, 5]] = False
    ellipse = box(4, 8, 10, 10)
    assert np.array_equal(masks["a"]["polyp"], box(1, 1, 3, 3) | circle)
    assert np.array_equal(masks["a"]["instrument"], box(3, 7, 5, 9) | ellipse)
    assert not masks["b"]["polyp"].any()


def test_a_project(source: Path, tmp_path: Path) -> None:
    report = imported(source, tmp_path / "out", "via")
    check(tmp_path / "out")
    assert list(report.choice.classes.values()) == ["polyp", "instrument"]  # in the order of the options
    assert report.left == {"point, which has no area": 1, "label 'other', which is declared but never drawn": 1}
    assert report.notes[0].startswith("1 pictures have another size in bytes than VIA saw")


def test_annotations_alone_and_those_of_version_1(source: Path, tmp_path: Path) -> None:
    content = images(*ALL)
    written(source, content)
    imported(source, tmp_path / "out", "via", label_attribute="type", classes="polyp,instrument")
    check(tmp_path / "out")
    for picture_ in content.values():
        picture_["regions"] = dict(enumerate(picture_["regions"]))
    written(source, content)
    imported(source, tmp_path / "one", "via", classes="polyp,instrument")
    check(tmp_path / "one")


def test_a_csv(source: Path, tmp_path: Path) -> None:
    table = io.StringIO()
    lines = csv.writer(table)
    header = "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    lines.writerow(header.split(","))
    for place, each in enumerate(ALL):
        shape, attributes = json.dumps(each["shape_attributes"]), json.dumps(each["region_attributes"])
        lines.writerow(["a.png", 2000, "{}", len(ALL), place, shape, attributes])
    lines.writerow(["b.png", -1, "{}", 0, 0, "{}", "{}"])
    source.unlink()
    written(source.with_suffix(".csv"), table.getvalue())
    imported(source.parent, tmp_path / "out", "via", classes="polyp,instrument")
    check(tmp_path / "out")


def test_regions_without_attributes_and_boxes_to_tick(source: Path, tmp_path: Path) -> None:
    written(source, images({"shape_attributes": RECT, "region_attributes": {}}))
    imported(source, tmp_path / "out", "via", classes="foreground=polyp")
    assert np.array_equal(drawn(tmp_path / "out")["a"]["polyp"], box(3, 7, 5, 9))
    written(source, images(region(RECT, {"polyp": True, "bleeding": True, "ulcer": False})))
    imported(source, tmp_path / "both", "via")
    assert {name: mask.sum() for name, mask in drawn(tmp_path / "both")["a"].items()} == {"bleeding": 4, "polyp": 4}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"project": {}, "metadata": {}, "file": {}}, "is a project of VIA 3"),
        ({}, "holds no pictures"),
        ([], "expected an object"),
        ({"a": {"filename": "a.png"}}, "lacks 'regions'"),
        (images({"shape_attributes": RECT}), "region 1 lacks 'region_attributes'"),
        (images(region(RECT, "")), "its type is '', expected a label"),
        (images(region({"name": "heart"})), "its shape is 'heart'"),
        (images(region({"name": "rect", "x": 1})), "a rect lacks y"),
        (images(region({**POLYGON, "all_points_x": [1]})), "as many all_points_x as all_points_y"),
        (images(region({**RECT, "x": "1e12"})), "between -1e9 and 1e9"),
        (
            images(region(RECT), {"shape_attributes": RECT, "region_attributes": {"size": "big"}}),
            "attributes type, size",
        ),
        (images(region(RECT), name="../a.png"), "leads out of the folder"),
        (images(region(RECT), name="https://x.org/a.png"), "is an address; download"),
    ],
)
def test_wrong_files_are_refused(source: Path, tmp_path: Path, content: object, words: str) -> None:
    written(source, content)
    with pytest.raises(SyndiffError, match=words):
        imported(source, tmp_path / "out", "via")


def test_a_wrong_attribute_and_wrong_tables(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"no region has the attribute 'typ' \(did you mean 'type'"):
        imported(source, tmp_path / "out", "via", label_attribute="typ")
    head = "filename,region_shape_attributes,region_attributes\n"
    for text, words in [
        ("a,b\n", "expected the columns of VIA's CSV"),
        (f"{head}a.png,{{}}\n", "has 2 columns, expected 3"),
        (f"{head}a.png,{'[' * 99_999},{{}}\n", "is no JSON object"),
        (f'{head}a.png,"x""',  "line 2"),
    ]:  # fmt: skip
        path = written(source.with_suffix(".csv"), text)
        with pytest.raises(SyndiffError, match=words):
            imported(path, tmp_path / "out", "via")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_read_or_refused_with_words(source: Path, data: st.DataObject) -> None:
    path = written(source, PROJECT)
    path.write_bytes(data.draw(damaged(path)))
    survives(source, "via")
