"""CVAT for images 1.1, laid out after "XML annotation format" of docs.cvat.ai."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotated import box, drawn, imported, picture, survives, written
from syndiff.errors import SyndiffError

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>4</id> <name>polyps &amp; tools</name> <size>2</size> <mode>annotation</mode>
      <labels>
        <label> <name>polyp</name> <color>#ff0000</color> <type>any</type> <attributes/> </label>
        <label> <name>instrument</name> <type>any</type> <attributes/> </label>
        <label> <name>artefact</name> <type>any</type> <attributes/> </label>
      </labels>
      <owner> <username>me</username> </owner>
    </task>
  </meta>
"""
SHAPES = """
    <polygon label="polyp" source="manual" occluded="0" points="1.00,1.00;3.00,1.00;3.00,3.00;1.00,3.00" z_order="1">
      <attribute name="size">small</attribute>
    </polygon>
    <box label="instrument" occluded="0" xtl="6.0" ytl="2.0" xbr="10.0" ybr="4.0" rotation="90.0" z_order="0"></box>
    <ellipse label="polyp" occluded="0" cx="4.00" cy="7.00" rx="2.00" ry="2.00" z_order="0"></ellipse>
    <mask label="polyp" occluded="0" rle="1, 3" left="10" top="8" width="2" height="2" z_order="0"></mask>
    <polyline label="polyp" points="1,1;2,2" z_order="0"></polyline>
    <tag label="polyp" source="manual"></tag>
"""


def xml(source: Path, shapes: str = SHAPES, image: str = 'name="a b.png" width="12" height="10"') -> Path:
    second = '<image id="1" name="b.png" width="12" height="10"></image>'
    return written(source, f'{HEAD}<image id="0" {image}>{shapes}</image>{second}</annotations>')


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder that an export is unpacked to."""
    for name in ("a b.png", "b.png"):
        picture(tmp_path / "cvat" / "images" / name)
    xml(tmp_path / "cvat" / "annotations.xml")
    return tmp_path / "cvat"


def test_every_kind_of_shape(source: Path, tmp_path: Path) -> None:
    report = imported(source, tmp_path / "out", "cvat")
    masks = drawn(tmp_path / "out")
    circle = box(5, 2, 9, 6)
    circle[[5, 5, 8, 8], [2, 5, 2, 5]] = False
    patch = box(8, 10, 10, 12)
    patch[8, 10] = False
    assert list(masks) == ["a b", "b"]
    assert np.array_equal(masks["a b"]["polyp"], box(1, 1, 3, 3) | circle | patch)
    assert np.array_equal(masks["a b"]["instrument"], box(1, 7, 5, 9))
    assert list(masks["b"]) == ["polyp", "instrument"]  # in the order of the task's labels
    assert report.left == {
        "polyline, which has no area": 1,
        "tag, which has no area": 1,
        "label 'artefact', which is declared but never drawn": 1,
    }


def test_the_upper_shape_covers_the_lower_one_where_asked_for(source: Path, tmp_path: Path) -> None:
    polyp = '<box label="polyp" xtl="0" ytl="0" xbr="6" ybr="6" z_order="2"/>'
    shapes = polyp + '<box label="instrument" xtl="4" ytl="0" xbr="9" ybr="6" z_order="1"/>'
    xml(source / "annotations.xml", shapes)
    report = imported(source, tmp_path / "out", "cvat")
    assert report.overlapping == {"a b": 12}
    both = drawn(tmp_path / "out")["a b"]
    assert both["polyp"].sum() == 36 and both["instrument"].sum() == 30
    imported(source, tmp_path / "flat", "cvat", flatten=True)
    flat = drawn(tmp_path / "flat")["a b"]
    assert flat["polyp"].sum() == 36 and flat["instrument"].sum() == 18


def test_a_project_keeps_its_subsets_in_folders(source: Path, tmp_path: Path) -> None:
    (source / "images").rename(source / "moved")
    (source / "images").mkdir()
    (source / "moved").rename(source / "images" / "default")
    xml(source / "annotations.xml", image='name="a b.png" subset="default" width="12" height="10"')
    assert len(imported(source, tmp_path / "out", "cvat").names) == 2


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ('<polygon label="polyp" points="1,1;2"/>', r"found the point \['2'\]"),
        ('<polygon label="polyp" points="1,1;2,nan;3,3"/>', "expected a number of pixels"),
        ('<polygon label="polyp"/>', "found the point"),
        ('<polygon points="1,1;2,2;3,3"/>', "has no label"),
        ('<box label="polyp" xtl="0" ytl="0"/>', "lacks xbr, ybr"),
        ('<box label="polyp" xtl="0" ytl="0" xbr="1e99" ybr="6"/>', "between -1e9 and 1e9"),
        ('<box label="polyp" xtl="0" ytl="0" xbr="6" ybr="6" z_order="top"/>', "z_order: found 'top'"),
        ('<mask label="polyp" rle="1, x" left="0" top="0" width="2" height="2"/>', "its rle is '1, x'"),
        ('<mask label="polyp" rle="1, 4" left="0" top="0" width="2" height="2"/>', "whole numbers from 0 to 4|cover 5"),
        (
            '<mask label="polyp" rle="9" left="0" top="0" width="99999" height="99999"/>',
            "more than 100,000,000",
        ),
        ('<mask label="polyp" rle="1" left="0" top="0" width="0" height="1"/>', "a box of a pixel at least"),
    ],
)
def test_wrong_shapes_are_refused(source: Path, tmp_path: Path, shapes: str, words: str) -> None:
    xml(source / "annotations.xml", shapes)
    with pytest.raises(SyndiffError, match=words):
        imported(source, tmp_path / "out", "cvat")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotations>", "is no valid XML"),
        ("<annotations><image id='0'", "is no valid XML"),
        ("{}", "is no valid XML"),
        ("<?xml version='1.0' encoding='utf-9'?><annotations/>", "is no valid XML .unknown encoding"),
        ("<?xml version='1.0' encoding='big5'?><annotations/>", "is no valid XML .multi-byte encodings"),
        ("<annotation><filename>a</filename></annotation>", "holds no pictures"),
        (f"{HEAD}<track id='0' label='polyp'></track></annotations>", "is of CVAT for video"),
        ('<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotations>&c;</annotations>', "has a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "has a document type"),
        ("<a>" * 50_000, "nested more than 50 levels"),
        ('<annotations><image id="0" width="1" height="1"/></annotations>', "the picture is None"),
        ('<annotations><image id="0" name="../x.png" width="1" height="1"/></annotations>', "leads out of the folder"),
        ('<annotations><image id="0" name="b.png" width="one" height="1"/></annotations>', "its size is 'one' x '1'"),
    ],
)
def test_wrong_files_are_refused(source: Path, tmp_path: Path, text: str, words: str) -> None:
    written(source / "annotations.xml", text)
    with pytest.raises(SyndiffError, match=words):
        imported(source, tmp_path / "out", "cvat")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_is_read_or_refused_with_words(source: Path, data: st.DataObject) -> None:
    text = xml(source / "annotations.xml").read_text()
    start = data.draw(st.integers(0, len(text)))
    new = data.draw(st.sampled_from(["", "<", ">", '"', "9", "-", "&", "e9", ".", ";", "</image>", "nan", "9" * 12]))
    written(source / "annotations.xml", text[:start] + new + text[start + data.draw(st.integers(0, 9)) :])
    survives(source, "cvat")
