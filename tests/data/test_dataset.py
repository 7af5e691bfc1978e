"""Dataset folders: a good one opens with everything known, a bad one says which file and how to mend it."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.dataset import Case, Dataset
from syndiff.errors import SyndiffError

FOREGROUND = np.pad(np.full((2, 3), 255, np.uint8), 3)  # 8 x 9


def add(root: Path, case: str, mask: NDArray = FOREGROUND, image: NDArray | None = None) -> None:
    """Write one case: an image of its own colour and a mask."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if image is None:
        image = np.full((*mask.shape, 3), sum(case.encode()) % 256, np.uint8)
    Image.fromarray(image).save(root / "images" / f"{case}.png")
    Image.fromarray(mask).save(root / "masks" / f"{case}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three cases: a, b and c."""
    for case in "bca":
        add(tmp_path / "polyps", case)
    return tmp_path / "polyps"


def describe(root: Path, **settings: object) -> None:
    (root / "dataset.json").write_text(json.dumps(settings))


def refusal(root: Path) -> str:
    with pytest.raises(SyndiffError) as error:
        Dataset.open(root)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- what a folder tells


def test_images_and_masks_are_enough(root: Path) -> None:
    dataset = Dataset.open(root)
    assert (dataset.name, dataset.modality, dataset.licence) == ("polyps", "", "")
    assert dataset.classes == {} and dataset.mask_threshold is None and not dataset.has_groups
    assert [case.id for case in dataset.cases] == ["a", "b", "c"]
    assert dataset["b"] == Case("b", root / "images" / "b.png", root / "masks" / "b.png", None, None)


def test_everything_beside_them_is_read(root: Path) -> None:
    described = {"name": "P", "modality": "endoscopy", "licence": "CC0", "mask_threshold": 127}
    describe(root, **described, classes={"0": "background", "1": "polyp"}, notes=["free"], size={"w": 9})
    (root / "groups.csv").write_text("\ufeffcase, group\r\na,one\r\nb,two\r\n\r\nc,one\r\n")
    (root / "captions.csv").write_text('case,caption\nc,flat\na,"small, red"\nb,round\n')
    dataset = Dataset.open(root)
    assert (dataset.name, dataset.modality, dataset.licence) == ("P", "endoscopy", "CC0")
    assert dataset.classes == {1: "polyp"} and dataset.mask_threshold == 127
    assert dataset.has_groups and [case.group for case in dataset.cases] == ["one", "two", "one"]
    assert [case.caption for case in dataset.cases] == ["small, red", "round", "flat"]


def test_extensions_may_differ_and_other_entries_are_left_alone(root: Path) -> None:
    add(root, "v1.2")
    (root / "images" / "v1.2.png").rename(root / "images" / "v1.2.PNG")
    Image.fromarray(FOREGROUND).save(root / "masks" / "v1.2.tif")
    (root / "masks" / "v1.2.png").unlink()
    for name in (".DS_Store", "._a.png"):
        (root / "images" / name).touch()
    (root / "instances").mkdir()
    (root / "images" / "d.gif").touch()
    dataset = Dataset.open(root)
    assert [case.id for case in dataset.cases] == ["a", "b", "c", "v1.2"]
    assert dataset.ignored == (root / "images" / "d.gif",)


def test_load_gives_image_and_mask(root: Path) -> None:
    dataset = Dataset.open(root)
    image, mask = dataset.load(dataset["a"])
    assert image.shape == (8, 9, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(mask, FOREGROUND > 0)


def test_the_fingerprint_follows_bytes_and_groups_but_not_the_place(root: Path, tmp_path: Path) -> None:
    first = Dataset.open(root).fingerprint()
    assert len(first) == 64
    moved = root.rename(tmp_path / "moved")
    assert Dataset.open(moved).fingerprint() == first
    seen = {first}
    (moved / "groups.csv").write_text("case,group\na,1\nb,1\nc,2\n")
    seen.add(Dataset.open(moved).fingerprint())
    add(moved, "a", mask=FOREGROUND[::-1, ::-1] // 255)
    seen.add(Dataset.open(moved).fingerprint())
    add(moved, "b", image=np.zeros((8, 9, 3), np.uint8))
    seen.add(Dataset.open(moved).fingerprint())
    assert len(seen) == 4


@pytest.mark.parametrize("settings", [{"mask_threshold": 50}, {"classes": {"255": "polyp"}}])
def test_the_fingerprint_follows_what_decides_which_values_are_foreground(root: Path, settings: dict) -> None:
    before = Dataset.open(root).fingerprint()
    describe(root, name="another name", modality="endoscopy")
    assert Dataset.open(root).fingerprint() == before
    describe(root, **settings)
    assert Dataset.open(root).fingerprint() != before


def test_the_fingerprint_of_some_cases_follows_them_alone_and_what_is_read_of_them(root: Path) -> None:
    def fingerprint(**captions: str) -> str:
        dataset = Dataset.open(root)
        return dataset.fingerprint_of([dataset["a"]], captions or None)

    first = fingerprint()
    add(root, "b", mask=FOREGROUND // 255)
    assert fingerprint() == first
    found = {first, fingerprint(a="a polyp", b="x"), fingerprint(a="a flat polyp")}
    assert fingerprint(a="a polyp", b="y") in found
    describe(root, modality="endoscopy")
    found.add(fingerprint())
    add(root, "a", mask=FOREGROUND // 255)
    found.add(fingerprint())
    assert len(found) == 5


def test_the_content_of_an_image_is_its_picture_not_its_file(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    add(tmp_path, "one", image=image)
    for name, extension, orientation in (("two", "bmp", 1), ("three", "tif", 1), ("turned", "png", 3)):
        add(tmp_path, name)
        (tmp_path / "images" / f"{name}.png").unlink()
        exif = Image.Exif()
        exif[274] = orientation
        stored = image if orientation == 1 else image[::-1, ::-1]
        Image.fromarray(stored).save(tmp_path / "images" / f"{name}.{extension}", exif=exif)
    add(tmp_path, "other", image=image[::-1])
    add(tmp_path, "deep", image=image[..., 0].astype(np.uint16))
    add(tmp_path, "grey", image=image[..., 0])
    dataset = Dataset.open(tmp_path)
    found = {case.id: dataset.content(case) for case in dataset.cases}
    assert found["one"] == found["two"] == found["three"] == found["turned"]
    assert len(set(found.values())) == 4 and all(len(value) == 64 for value in found.values())


@pytest.mark.real
def test_cvc_clinicdb(cvc: Path) -> None:
    dataset = Dataset.open(cvc)
    assert len(dataset.cases) == 612 and len({case.group for case in dataset.cases}) == 29
    image, mask = dataset.load(dataset["1"])
    assert image.shape == (288, 384, 3) and 0 < mask.mean() < 0.5


# ---- masks


@pytest.mark.parametrize(
    "values, settings",
    [
        ([0, 255], {}),
        ([0, 7], {}),
        ([0, 0], {}),
        ([0, 1], {"classes": {"1": "polyp"}}),
        ([0, 3], {"classes": {"3": "polyp"}}),
        ([0, 128], {"mask_threshold": 127, "classes": {"1": "polyp"}}),
        ([100, 201], {"mask_threshold": 200}),
        ([0, 2], {"mask_threshold": 0, "classes": {"1": "polyp", "2": "tool"}}),
        ([False, True], {"mask_threshold": 127}),
        ([False, True], {"classes": {"2": "polyp"}}),
    ],
)
def test_masks_that_are_understood(tmp_path: Path, values: list, settings: dict) -> None:
    mask = np.array([values] * 2)
    add(tmp_path, "a", mask=mask.astype(np.uint8) if mask.dtype != bool else mask)
    describe(tmp_path, **settings)
    dataset = Dataset.open(tmp_path)
    assert dataset.load(dataset["a"])[1].tolist() == [[False, values[0] != values[1]]] * 2


@pytest.mark.parametrize(
    "values, settings, expected",
    [
        ([0, 1, 2], {}, "0 for background and one other value"),
        ([1, 255, 255], {}, "0 for background and one other value"),
        ([0, 255, 255], {"classes": {"1": "polyp"}}, "0 and the class 1 that dataset.json declares"),
    ],
)
def test_unexpected_mask_values_ask_for_a_threshold(
    tmp_path: Path, values: list[int], settings: dict, expected: str
) -> None:
    add(tmp_path, "a", mask=np.array([values], np.uint8))
    describe(tmp_path, **settings)
    dataset = Dataset.open(tmp_path)
    with pytest.raises(SyndiffError) as error:
        dataset.load(dataset["a"])
    message = str(error.value)
    assert str(tmp_path / "masks" / "a.png") in message and expected in message
    assert ", ".join(str(value) for value in sorted(set(values))) in message
    assert "mask_threshold" in message and str(tmp_path / "dataset.json") in message


def test_a_renumbered_palette_is_no_class_number(root: Path) -> None:
    picture = Image.fromarray((FOREGROUND == 0).astype(np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 0, 0])
    picture.save(root / "masks" / "a.png")
    dataset = Dataset.open(root)
    np.testing.assert_array_equal(dataset.load(dataset["a"])[1], FOREGROUND > 0)
    describe(root, classes={"1": "polyp"})
    dataset = Dataset.open(root)
    with pytest.raises(SyndiffError, match=r"masks/a.png has a colour palette whose black.* is not index 0"):
        dataset.load(dataset["a"])


def test_a_mask_of_another_size_names_both(root: Path) -> None:
    add(root, "a", mask=FOREGROUND, image=np.zeros((9, 8, 3), np.uint8))
    dataset = Dataset.open(root)
    with pytest.raises(SyndiffError, match=r"masks/a.png is 9x8 .*images/a.png is 8x9, as after a quarter turn"):
        dataset.load(dataset["a"])


# ---- folders that do not fit


def test_folders_that_are_no_dataset(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert "is a file" in refusal(tmp_path / "file")
    assert "no images/ folder" in refusal(tmp_path)
    (tmp_path / "images").mkdir()
    assert "no masks/ folder" in refusal(tmp_path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "a.gif").touch()
    assert "holds no images" in refusal(tmp_path)


def test_images_and_masks_must_pair(root: Path) -> None:
    for number in range(7):
        (root / "images" / f"x{number}.jpg").touch()
    message = refusal(root)
    assert "7 image(s) without mask: x0, x1, x2, x3, x4, ... (7 in all)" in message
    for path in (root / "images").glob("*.jpg"):
        path.rename(root / "masks" / path.name)
    assert "7 mask(s) without image: x0" in refusal(root)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_two_files_for_one_case(root: Path, folder: str) -> None:
    (root / folder / "a.jpg").touch()
    message = refusal(root)
    assert str(root / folder / "a.jpg") in message and str(root / folder / "a.png") in message


@pytest.mark.parametrize("name", ["groups", "captions"])
@pytest.mark.parametrize(
    "content, expected",
    [
        ("", "first line must be case,"),
        ("name,patient\na,1\n", "first line must be case,"),
        ("{header}\na,1\nb,1\n", "does not list 1 case(s): c"),
        ("{header}\na,1\nb,1\nc,1\nd,1\n", "line 5: case 'd' has no image"),
        ("{header}\na.png,1\n", "without its extension"),
        ("{header}\na,1\nb,1\na,2\n", "line 4: case 'a' is listed twice"),
        ("{header}\na\n", "line 2: found 'a'"),
        ("{header}\na,1,2\n", "line 2: found 'a,1,2'"),
        ("{header}\na, \n", "line 2"),
        ("{header}\na,\xff\n", "no UTF-8 text"),
        ("{header}\na,\0\n", "line 2: holds a NUL character"),
        ("\xff\xfec\0a\0", "stored as UTF-16"),
        ("PK\x03\x04....", "a spreadsheet's own file"),
        ("case;group\na;1\n", "with a comma between the columns"),
        ('{header}\na,"1\n', "line 2: unexpected end of data; a field that begins with a quote must end"),
    ],
)
def test_tables_that_do_not_fit(root: Path, name: str, content: str, expected: str) -> None:
    text = content.replace("{header}", f"case,{name[:-1]}")
    (root / f"{name}.csv").write_bytes(text.encode("latin-1"))
    message = refusal(root)
    assert str(root / f"{name}.csv") in message and expected in message


@pytest.mark.parametrize(
    "content, expected",
    [
        ("{", "not valid JSON"),
        ("[]", "holds []; it must be a JSON object"),
        ('{"mask_treshold": 127}', "did you mean 'mask_threshold'?"),
        ('{"name": 3}', "name is 3; expected text"),
        ('{"mask_threshold": "127"}', "mask_threshold is '127'"),
        ('{"mask_threshold": true}', "mask_threshold is True"),
        ('{"mask_threshold": 0.5}', "mask_threshold is 0.5"),
        ('{"mask_threshold": -1}', "mask_threshold is -1"),
        ('{"classes": ["polyp"]}', "classes is ['polyp']"),
        ('{"classes": {"polyp": 1}}', "expected names by mask value"),
        ('{"classes": {"1": "polyp", "2": "polyp"}}', "both called polyp"),
        ('{"classes": {"1": "polyp", "2": "a\\nb"}}', "line break"),
        ('{"classes": {"1": "polyp"}, "overlap": true}', "overlap is true"),
        ('{"classes": {"1": "polyp", "2": "tool"}, "overlap": true, "mask_threshold": 9}', "sets mask_threshold"),
        ('{"classes": {"1": "polyp", "2": "tool"}, "overlap": 1}', "overlap is 1"),
        (json.dumps({"classes": {str(i): f"c{i}" for i in range(1, 40)}}), "39 foreground classes"),
        ('{"classes": {"1": "polyp", "01": "tool"}}', "expected names by mask value"),
        ('{"classes": {"' + "1" * 5000 + '": "polyp"}}', "expected names by mask value"),
        ('{"name": ""}', "text of 1 to 200 bytes"),
        ('{"name": "' + "x" * 300 + '"}', "text of 1 to 200 bytes"),
        ('{"name": "\\ud800"}', "expected text"),
        ('{"mask_threshold": 127,}', "Mend it in a text editor"),
    ],
)
def test_descriptions_that_do_not_fit(root: Path, content: str, expected: str) -> None:
    (root / "dataset.json").write_text(content)
    message = refusal(root)
    assert str(root / "dataset.json") in message and expected in message


def test_an_unknown_case_is_named_with_the_nearest(tmp_path: Path) -> None:
    add(tmp_path, "frame-017")
    with pytest.raises(SyndiffError, match=r"no case 'frame-17' \(did you mean 'frame-017'\?\)"):
        Dataset.open(tmp_path)["frame-17"]
