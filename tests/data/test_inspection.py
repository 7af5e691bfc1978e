"""Inspection: the verdict names every problem, the statistics are those of the files, the sheet shows masks."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.contact_sheet import dataset_sheet
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import Inspection, inspect
from syndiff.errors import SyndiffError
from syndiff.imaging import class_colour


def add(root: Path, case: str, mask: NDArray, image: NDArray | None = None) -> None:
    """Write one case: an image of random pixels, seeded by its name, and a mask."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if image is None:
        random = np.random.default_rng(list(case.encode()))
        image = random.integers(0, 256, (*mask.shape, 3)).astype(np.uint8)
    Image.fromarray(image).save(root / "images" / f"{case}.png")
    Image.fromarray(mask).save(root / "masks" / f"{case}.png")


def squares(*sides: int, value: int = 255, height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    """A mask of squares in a row, ten pixels apart, each touching no other."""
    mask = np.zeros((height, width), np.uint8)
    for index, side in enumerate(sides):
        mask[5 : 5 + side, 10 * index + 1 : 10 * index + 1 + side] = value
    return mask


def inspected(root: Path, **settings: object) -> Inspection:
    (root / "dataset.json").write_text(json.dumps(settings))
    return inspect(Dataset.open(root))


def test_statistics_say_how_many_cases_they_count(tmp_path: Path) -> None:
    for case in "abc":
        add(tmp_path, case, squares(4))
    whole = inspected(tmp_path)
    assert whole.readable == 3 and "Readable" not in whole.text()
    (tmp_path / "masks" / "b.png").write_bytes(b"no picture")
    result = inspected(tmp_path)
    assert result.readable == 2 and "2 of them; what follows counts these alone" in result.text()


def test_a_good_dataset_is_usable_and_measured(tmp_path: Path) -> None:
    add(tmp_path, "a", squares(2))
    add(tmp_path, "b", squares(8, 6))
    add(tmp_path, "c", squares(8, 8, height=50))
    add(tmp_path, "d", squares())
    corner = squares(4)
    corner[9:11, 5:7] = 255  # touches at a corner: the same lesion
    add(tmp_path, "e", corner)
    (tmp_path / "groups.csv").write_text("case,group\na,1\nb,1\nc,2\nd,3\ne,3\n")
    result = inspected(tmp_path, name="Tiny", modality="drawing")
    assert result.usable and result.problems == ()
    result.raise_for_problems()
    assert result.cases == 5 and result.groups == {"1": 2, "2": 1, "3": 2}
    assert result.sizes == {(50, 40): 4, (50, 50): 1}
    assert result.pixels == {"8-bit RGB": 5}
    assert result.lesions == {1: 2, 2: 2, 0: 1}
    assert result.empty_masks == ("d",)
    assert result.lesion_area[0] == pytest.approx(4 / 2000)
    assert result.lesion_area[3] == pytest.approx((20 / 2000 + 100 / 2000) / 2)
    assert result.lesion_area[-1] == pytest.approx(128 / 2500)
    assert len(result.notes) == 1 and "Empty masks: d" in result.notes[0]
    text = result.text()
    assert text.splitlines()[-1] == "Verdict: usable"
    for words in ("Tiny", "drawing", "3, with 1 to 2 cases", "50x40 (4), 50x50 (1)", "0 to 2 per case", "6 in all"):
        assert words in text


def test_every_bad_case_is_listed_and_the_good_ones_are_measured(tmp_path: Path) -> None:
    add(tmp_path, "good", squares(4))
    add(tmp_path, "size", squares(4), np.zeros((50, 40, 3), np.uint8))
    add(tmp_path, "values", squares(4, 4) // 2 + squares(4))
    add(tmp_path, "cut", squares(4))
    cut = tmp_path / "images" / "cut.png"
    cut.write_bytes(cut.read_bytes()[:900])
    result = inspected(tmp_path)
    assert not result.usable and len(result.problems) == 3
    for problem, case in zip(result.problems, ("cut.png", "size.png", "values.png"), strict=True):
        assert case in problem
    assert sum(result.sizes.values()) == 1
    assert result.text().splitlines()[-1] == "Verdict: not usable: 3 problems, listed above"
    with pytest.raises(SyndiffError, match="not usable"):
        result.raise_for_problems()


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    for number in range(14):
        add(tmp_path, f"{number:02d}", squares(3), np.zeros((5, 5, 3), np.uint8))
    result = inspected(tmp_path)
    assert len(result.problems) == 14 and "and 4 more" in result.text()
    with pytest.raises(SyndiffError, match="And 11 more"):
        result.raise_for_problems()


def test_all_masks_empty_is_a_problem(tmp_path: Path) -> None:
    add(tmp_path, "a", squares())
    add(tmp_path, "b", squares())
    assert "nothing to learn" in inspected(tmp_path).problems[0]
    add(tmp_path, "b", squares(4, value=1))
    assert inspected(tmp_path).usable
    too_high = inspected(tmp_path, mask_threshold=127)
    assert "all masks are empty" in too_high.problems[0] and "highest value found is 1" in too_high.problems[0]
    assert too_high.lesion_area == ()
    assert "Lesion area  none" in too_high.text()


def test_masks_of_different_foreground_values_are_a_problem(tmp_path: Path) -> None:
    add(tmp_path, "a", squares(4, value=1))
    add(tmp_path, "b", squares(4, value=255))
    add(tmp_path, "bit", squares(4) > 0)
    (problem,) = inspected(tmp_path).problems
    assert "1 in a.png, 255 in b.png" in problem and "mask_threshold" in problem
    assert inspected(tmp_path, mask_threshold=0).usable


def test_notes_say_what_is_worth_knowing(tmp_path: Path) -> None:
    add(tmp_path, "a", 255 - squares(4), np.full((40, 50), 4000, np.uint16))
    shaded = 255 - squares(8)
    shaded[0] = 60
    add(tmp_path, "b", shaded, np.ones((40, 50), bool))
    add(tmp_path, "c", 255 - squares(4), np.full((40, 50), 4000, np.uint16))
    (tmp_path / "images" / "d.gif").touch()
    result = inspected(tmp_path, mask_threshold=127)
    notes = " ".join(result.notes)
    assert result.usable
    for words in (
        "Groups are unknown",
        "Ignored in images/ and masks/: d.gif",
        "1-bit black and white and converted to RGB: b.png",
        "1 of 3 masks hold more than two values",
        "background and foreground exchanged",
        "16-bit images reach 4000 of 65535",
        "same image under several names: a = c",
    ):
        assert words in notes
    assert result.pixels == {"16-bit grey": 2, "1-bit black and white": 1}
    (tmp_path / "groups.csv").write_text("case,group\na,1\nb,1\nc,2\n")
    assert any("needs three groups; there are 2" in note for note in inspected(tmp_path, mask_threshold=0).notes)


def noted(root: Path, **settings: object) -> str:
    return " ".join(inspected(root, **settings).notes)


def test_a_few_odd_masks_among_good_ones_are_named(tmp_path: Path) -> None:
    for number in range(8):
        add(tmp_path, f"good-{number}", squares(4 + number))
    add(tmp_path, "full", squares() + 255)
    add(tmp_path, "inverted", 255 - squares(4))
    nearly = squares() + 255
    nearly[:, ::49] = nearly[::39] = 0
    nearly[0, 0] = 255
    add(tmp_path, "nearly", nearly)
    notes = noted(tmp_path, mask_threshold=127)
    assert "cover the whole image: full." in notes
    assert "look inverted, since they hold most of the border and of the image: inverted." in notes
    assert "good-" not in notes and "identical" not in notes
    assert "from 0.8 % to 100 %" in inspected(tmp_path, mask_threshold=127).text()


def test_identical_masks_for_all_cases_are_noted(tmp_path: Path) -> None:
    for case in "abc":
        add(tmp_path, case, squares(6))
    assert "All masks are identical" in noted(tmp_path)


def test_an_orientation_of_one_of_the_two_is_noted_where_nothing_else_shows_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    for case, orientation, size in (("half", 3, (50, 40)), ("mirror", 2, (50, 40)), ("square", 6, (40, 40))):
        add(tmp_path, case, squares(4, height=40, width=size[0]))
        exif[274] = orientation
        path = tmp_path / "images" / f"{case}.png"
        Image.open(path).save(path, exif=exif)
    add(tmp_path, "both", squares(4))
    exif[274] = 3
    for folder in ("images", "masks"):
        Image.open(tmp_path / folder / "both.png").save(tmp_path / folder / "both.png", exif=exif)
    assert "turns or mirrors the image but not its mask, or the reverse: half, mirror, square." in noted(tmp_path)


def test_copies_are_found_by_their_picture_and_told_apart_by_group(tmp_path: Path) -> None:
    for case in "abc":
        add(tmp_path, case, squares(4 + ord(case) % 3))
    picture = Image.open(tmp_path / "images" / "a.png")
    picture.save(tmp_path / "images" / "b.bmp")
    (tmp_path / "images" / "b.png").unlink()
    (tmp_path / "groups.csv").write_text("case,group\na,p1\nb,p2\nc,P 2\n")
    notes = noted(tmp_path)
    assert "same image under several names: a = b." in notes
    assert "in different groups, which a split by group does not keep together: a (p1) = b (p2)." in notes
    assert "how a number is written: 'P 2' = 'p2'." in notes


def test_the_contact_sheet_shows_images_with_their_outline(tmp_path: Path) -> None:
    for number in range(10):
        dtype = np.uint16 if number % 2 else np.uint8
        mask = squares(20, height=60 + 30 * number, width=80)
        add(tmp_path, f"case-{number}", mask, np.full(mask.shape, 40, dtype))
    dataset = Dataset.open(tmp_path)
    dataset_sheet(dataset, tmp_path / "out" / "sheet.png", count=8, seed=1)
    with Image.open(tmp_path / "out" / "sheet.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (2 * 198, 6 * 240, 3)
    contour = (sheet == (0, 255, 255)).all(axis=2)
    for index in range(8):
        row, column = divmod(index, 6)
        assert contour[198 * row :, 240 * column :][:180, :240].sum() > 30
    assert not contour[198:, 480:].any()
    again, other = tmp_path / "again.png", tmp_path / "other.png"
    dataset_sheet(dataset, again, count=8, seed=1)
    dataset_sheet(dataset, other, count=8, seed=2)
    assert again.read_bytes() == (tmp_path / "out" / "sheet.png").read_bytes() != other.read_bytes()
    for seed in range(5):  # no case twice, though ten cases are not a multiple of eight
        dataset_sheet(dataset, again, count=8, seed=seed)
        drawn = np.asarray(Image.open(again))
        cells = {drawn[198 * row :, 240 * column :][:198, :240].tobytes() for row, column in np.ndindex(2, 6)}
        assert len(cells) == 8 + 1, "eight cases, and the empty cells"


def test_the_contact_sheet_shows_each_class_inside_its_border_and_names_them_above(tmp_path: Path) -> None:
    rings = np.zeros((174, 174), np.uint8)
    rings[40:120, 40:120], rings[60:100, 60:100] = 2, 1  # one class within the other
    add(tmp_path, "a", rings, np.full(rings.shape, 40, np.uint8))
    (tmp_path / "dataset.json").write_text('{"classes": {"1": "core", "2": "shell"}}')
    dataset_sheet(Dataset.open(tmp_path), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        sheet = np.asarray(picture)[40:][3:177, 33:207]  # below the legend, the picture in its cell
    core, shell = ((sheet == class_colour(index)).all(2) for index in (0, 1))
    assert core.any() and shell.any()
    assert not (core & (rings != 1)).any() and not (shell & (rings != 2)).any()
    assert shell[59, 60:100].all() and core[60, 60:100].all()  # the border that they share has both


def test_a_small_contact_sheet_shows_every_case_and_single_pixels(tmp_path: Path) -> None:
    for name in ("one", "two"):
        add(tmp_path, name, squares(1, height=700, width=900), np.zeros((700, 900, 3), np.uint8))
    dataset_sheet(Dataset.open(tmp_path), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (480, 198)
        contour = (np.asarray(picture) == (0, 255, 255)).all(axis=2)
    assert contour[:, :240].any() and contour[:, 240:].any()
    with pytest.raises(SyndiffError, match="expected 1 or more"):
        dataset_sheet(Dataset.open(tmp_path), tmp_path / "sheet.png", count=0)


@pytest.mark.real
def test_cvc_clinicdb_opens_as_a_sheet(cvc: Path, tmp_path: Path) -> None:
    dataset_sheet(Dataset.open(cvc), tmp_path / "sheet.png", count=4)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (960, 198)


@pytest.mark.parametrize(("one", "other"), [("p1", "P1"), ("p1", "p1\u200b"), ("p1", "\uff501"), ("1", "1.0")])
def test_groups_that_look_alike_are_noted(tmp_path: Path, one: str, other: str) -> None:
    for index in range(4):
        add(tmp_path, f"c{index}", squares(5))
    rows = "".join(f"c{index},{group}\n" for index, group in enumerate([one, other, "q2", "q3"]))
    (tmp_path / "groups.csv").write_text(f"case,group\n{rows}", encoding="utf-8")
    assert any("spell it alike" in note for note in inspect(Dataset.open(tmp_path)).notes)
