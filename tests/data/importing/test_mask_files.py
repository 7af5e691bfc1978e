"""Masks as files: pairs of folders, suffixes, several masks of a picture, colours, values, and JPEG."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotated import box, drawn, imported, mask_file, picture
from syndiff.errors import SyndiffError

WHITE = 255 * box(1, 1, 5, 6).astype(np.uint8)


def test_a_pair_of_folders(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        picture(tmp_path / "Original" / patient / "1.jpg")
        mask_file(tmp_path / "Ground Truth" / patient / "1.png", WHITE)
    report = imported(tmp_path / "Original", tmp_path / "out", "masks", masks=tmp_path / "Ground Truth")
    assert np.array_equal(drawn(tmp_path / "out")["p1_1"]["foreground"], box(1, 1, 5, 6))
    assert list(report.names) == ["p1_1", "p2_1"]


def test_images_and_masks_in_one_folder_need_no_option_but_a_name(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "images" / "a.png")
    mask_file(tmp_path / "set" / "masks" / "a.png", WHITE)
    imported(tmp_path / "set", tmp_path / "out", "masks", classes="foreground=polyp")
    assert list(drawn(tmp_path / "out")["a"]) == ["polyp"]


def test_busis_layout(tmp_path: Path) -> None:
    """Folders by finding, names with blanks and brackets, several masks of one image, none drawn on normal ones."""
    for finding in ("benign", "normal"):
        picture(tmp_path / "BUSI" / finding / f"{finding} (1).png")
        mask_file(tmp_path / "BUSI" / finding / f"{finding} (1)_mask.png", WHITE * (finding == "benign"))
    mask_file(tmp_path / "BUSI" / "benign" / "benign (1)_mask_1.png", 255 * box(7, 7, 9, 9))
    report = imported(tmp_path / "BUSI", tmp_path / "out", "masks", mask_suffix=("_mask",))
    masks = drawn(tmp_path / "out")
    assert list(masks) == ["benign_benign (1)", "normal_normal (1)"]
    assert np.array_equal(masks["benign_benign (1)"]["foreground"], box(1, 1, 5, 6) | box(7, 7, 9, 9))
    assert report.empty == ["normal_normal (1)"]


def test_numbered_masks_without_suffix(tmp_path: Path) -> None:
    for name in ("a", "a_2"):
        picture(tmp_path / "i" / f"{name}.png")
    for name, mask in (("a", box(0, 0, 2, 2)), ("a_1", box(4, 4, 6, 6)), ("a_2", box(8, 8, 9, 9))):
        mask_file(tmp_path / "m" / f"{name}.png", 255 * mask)
    imported(tmp_path / "i", tmp_path / "out", "masks", masks=tmp_path / "m")
    masks = drawn(tmp_path / "out")
    assert masks["a"]["foreground"].sum() == 8 and masks["a_2"]["foreground"].sum() == 1


def test_a_suffix_for_each_class(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png")
    mask_file(tmp_path / "set" / "a_polyp.png", WHITE)
    mask_file(tmp_path / "set" / "a_tool.png", 255 * box(4, 4, 8, 8))
    report = imported(tmp_path / "set", tmp_path / "out", "masks", mask_suffix=("_polyp=polyp", "_tool=instrument"))
    assert {name: mask.sum() for name, mask in drawn(tmp_path / "out")["a"].items()} == {"polyp": 20, "instrument": 16}
    assert report.overlapping == {"a": 2}


def test_values_are_classes_where_they_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "images" / "a.png")
    values = box(1, 1, 3, 3) + 2 * box(4, 4, 6, 6) + 3 * box(7, 7, 9, 9)
    mask_file(tmp_path / "set" / "masks" / "a.png", values)
    with pytest.raises(SyndiffError, match=r"holds 0, 1, 2, 3; expected 0 and one other value.*--classes 1=polyp"):
        imported(tmp_path / "set", tmp_path / "out", "masks")
    report = imported(tmp_path / "set", tmp_path / "out", "masks", classes="2=tool,1=polyp")
    masks = drawn(tmp_path / "out")["a"]
    assert list(masks) == ["tool", "polyp"]
    assert np.array_equal(masks["polyp"], box(1, 1, 3, 3)) and np.array_equal(masks["tool"], box(4, 4, 6, 6))
    assert report.left == {"drawn under the label '3', which --classes does not name": 1}


def test_colours_are_classes(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "images" / "a.png")
    colours = np.zeros((10, 12, 3), np.uint8)
    colours[1:3, 1:3], colours[4:6, 4:6], colours[8, 8] = (255, 0, 0), (0, 255, 0), (0, 0, 9)
    mask_file(tmp_path / "set" / "masks" / "a.png", colours)
    named = ("255,0,0=polyp", "0, 255, 0=instrument")
    with pytest.raises(SyndiffError, match=r"holds the colour 0,0,9 \(1 pixels\).*add 0,0,9=label, or 0,0,9=back"):
        imported(tmp_path / "set", tmp_path / "out", "masks", colours=named)
    imported(tmp_path / "set", tmp_path / "out", "masks", colours=(*named, "0,0,9=background", "0,0,0=background"))
    masks = drawn(tmp_path / "out")["a"]
    assert np.array_equal(masks["polyp"], box(1, 1, 3, 3))
    assert np.array_equal(masks["instrument"], box(4, 4, 6, 6))


def test_jpeg_smears_and_what_is_done_about_it_is_said(tmp_path: Path) -> None:
    shape, colours = np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.uint8)
    shape[13:45, 13:45], colours[13:45, 13:45] = 255, (255, 0, 0)
    picture(tmp_path / "set" / "images" / "a.png", 64, 64)
    mask_file(tmp_path / "set" / "masks" / "a.jpg", shape, quality=60)
    report = imported(tmp_path / "set", tmp_path / "out", "masks")
    assert np.array_equal(drawn(tmp_path / "out")["a"]["foreground"], shape > 0)
    assert [note[:68] for note in report.notes] == [
        "masks saved as JPEG have a fringe of greys: above 127 is foreground "
    ]
    with pytest.raises(SyndiffError, match="is a JPEG, which smears the numbers of classes"):
        imported(tmp_path / "set", tmp_path / "new", "masks", classes="255=polyp")
    mask_file(tmp_path / "set" / "masks" / "a.jpg", colours, quality=95, subsampling=0)
    report = imported(tmp_path / "set", tmp_path / "new", "masks", colours=("255,0,0=polyp",))
    assert np.array_equal(drawn(tmp_path / "new")["a"]["polyp"], shape > 0)
    assert [note[:40] for note in report.notes] == ["colour masks saved as JPEG are smeared: "]


def test_a_jpeg_of_class_numbers_is_no_black_and_white_mask(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "images" / "a.png", 64, 64)
    for values in (20 * np.eye(64), np.tile(np.arange(64) * 4, (64, 1))):
        mask_file(tmp_path / "set" / "masks" / "a.jpg", values)
        with pytest.raises(SyndiffError, match="expected 0 and one other value"):
            imported(tmp_path / "set", tmp_path / "out", "masks")
    assert imported(tmp_path / "set", tmp_path / "out", "masks", threshold=200).shapes == {1: 1}


def test_palettes_and_single_bits(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "set" / "images" / f"{name}.png")
    Image.fromarray(box(1, 1, 3, 3)).save(tmp_path / "set" / "images" / "skip.txt", "PNG")
    (tmp_path / "set" / "masks").mkdir()
    Image.fromarray(box(1, 1, 3, 3)).save(tmp_path / "set" / "masks" / "a.png")
    palette = Image.fromarray(2 * box(1, 1, 3, 3).astype(np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 255, 0, 0])
    palette.save(tmp_path / "set" / "masks" / "b.png")
    imported(tmp_path / "set", tmp_path / "out", "masks")
    assert all(np.array_equal(each["foreground"], box(1, 1, 3, 3)) for each in drawn(tmp_path / "out").values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"which files are masks cannot be told; give --mask-suffix \(_mask, it seems\)"),
        ({"mask_suffix": ("_seg",)}, "3 pictures without mask: a.png, a_mask.png, b.png. Give --mask-suffix"),
        ({"mask_suffix": ("_mask",)}, "1 pictures without mask: b.png"),
        ({"mask_suffix": ("=polyp",)}, "expected a suffix or suffix=label"),
        ({"masks": Path("nowhere")}, "--masks nowhere is no folder"),
        (
            {"mask_suffix": ("_mask",), "colours": ("red=polyp",)},
            "--colours has 'red=polyp'; expected red, green, blue",
        ),
        ({"mask_suffix": ("_mask",), "colours": ("0,0,0=polyp",)}, "black is the background"),
        ({"mask_suffix": ("_mask",), "colours": ("1,2,3=a", "1,2,3=b")}, "names the colour 1,2,3 twice"),
        ({"mask_suffix": ("_mask",), "colours": ("1,2,300=a",)}, "expected red, green, blue=label"),
        ({"threshold": -1}, "--threshold is -1; expected a grey value"),
        ({"threshold": 1, "colours": ("1,2,3=a",)}, "--threshold and --colours are both given"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "set" / f"{name}.png")
    mask_file(tmp_path / "set" / "a_mask.png", WHITE)
    with pytest.raises(SyndiffError, match=words):
        imported(tmp_path / "set", tmp_path / "out", "masks", **options)


def test_what_has_no_partner_may_be_left(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "i" / f"{name}.png")
    for name in ("b", "c"):
        mask_file(tmp_path / "m" / f"{name}.png", WHITE)
    with pytest.raises(SyndiffError, match=r"1 pictures without mask: a.png; 1 masks without picture: c.png"):
        imported(tmp_path / "i", tmp_path / "out", "masks", masks=tmp_path / "m")
    report = imported(tmp_path / "i", tmp_path / "out", "masks", masks=tmp_path / "m", skip=True)
    assert report.left == {"picture without mask": 1, "mask without picture": 1}
    (tmp_path / "i" / "a.png").unlink()
    (tmp_path / "m" / "c.png").unlink()
    mask_file(tmp_path / "m" / "b_1.png", WHITE[:4])
    with pytest.raises(SyndiffError, match=r"b_1.png is 12x4 \(width x height\) but its picture is 12x10"):
        imported(tmp_path / "i", tmp_path / "new", "masks", masks=tmp_path / "m")
