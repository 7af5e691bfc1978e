"""What all formats share: names, classes, groups, overlap, EXIF, the report, and a folder that is whole or absent."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import tifffile
from PIL import Image

from annotated import box, drawn, imported, mask_file, picture, written
from conftest import Outcome
from syndiff.cli.data import Import
from syndiff.data.importing import READERS, writing
from syndiff.data.importing.settings import Format
from syndiff.data.inspection import open_checked
from syndiff.errors import SyndiffError
from syndiff.files import check_new_folder


def coco(root: Path, *drawn_: tuple[str, str, list[float]], size: tuple[int, int] = (12, 10)) -> Path:
    """A COCO file of rectangles: name of the picture, label, and left, top, right, bottom."""
    names, labels = list(dict.fromkeys(d[0] for d in drawn_)), list(dict.fromkeys(d[1] for d in drawn_))
    for name in names:
        if not (root / name).exists():
            picture(root / name, *size)
    return written(root / "coco.json", {
        "images": [{"id": n, "file_name": name, "width": size[0], "height": size[1]} for n, name in enumerate(names)],
        "categories": [{"id": n, "name": label} for n, label in enumerate(labels)],
        "annotations": [
            {"id": n, "image_id": names.index(name), "category_id": labels.index(label),
             "segmentation": [[left, top, right, top, right, bottom, left, bottom]]}
            for n, (name, label, (left, top, right, bottom)) in enumerate(drawn_)
        ],
    })  # fmt: skip


TWO = (("1_a.png", "polyp", [1, 1, 4, 4]), ("1_b.png", "polyp", [2, 2, 5, 5]), ("2_a.png", "tool", [6, 6, 9, 9]))


def test_classes_that_exclude_each_other_are_numbers(tmp_path: Path) -> None:
    imported(coco(tmp_path / "s", *TWO), tmp_path / "out", "coco")
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "2_a.png"))
    assert mask.dtype == np.uint8 and np.array_equal(mask, 2 * box(6, 6, 9, 9))
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert description == {"classes": {"1": "polyp", "2": "tool"}, "source": "imported from COCO: coco.json"}
    assert open_checked(tmp_path / "out").targets == ("polyp", "tool")


def test_classes_that_overlap_are_pages_in_every_mask(tmp_path: Path) -> None:
    """The overlap comes with the last case, when the others are written already."""
    source = coco(tmp_path / "s", *TWO, ("z.png", "polyp", [0, 0, 4, 4]), ("z.png", "tool", [2, 2, 6, 6]))
    report = imported(source, tmp_path / "out", "coco")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["overlap"] is True
    names = sorted(path.name for path in (tmp_path / "out" / "masks").iterdir())
    assert names == ["1_a.tif", "1_b.tif", "2_a.tif", "z.tif"]
    pages = tifffile.imread(tmp_path / "out" / "masks" / "1_a.tif")
    assert pages.dtype == np.uint8 and np.array_equal(pages, 255 * np.stack([box(1, 1, 4, 4), box(0, 0, 0, 0)]))
    assert np.array_equal(drawn(tmp_path / "out")["z"]["tool"], box(2, 2, 6, 6))
    assert report.overlapping == {"z": 4}
    flat = imported(source, tmp_path / "flat", "coco", flatten=True)
    assert not flat.overlapping
    assert np.array_equal(drawn(tmp_path / "flat")["z"]["polyp"], box(0, 0, 4, 4) & ~box(2, 2, 6, 6))


def test_labels_are_chosen_merged_and_ordered(tmp_path: Path) -> None:
    source = coco(tmp_path / "s", *TWO, ("3.png", "a, b=c", [0, 0, 2, 2]))
    report = imported(source, tmp_path / "one", "coco", classes="tool, polyp=tool")
    assert report.choice.classes == {1: "tool"}
    assert report.left == {"drawn under the label 'a, b=c', which --classes does not name": 1}
    assert report.empty == ["3"]
    quoted = imported(source, tmp_path / "two", "coco", classes='"a, b=c",tool=instrument')
    assert quoted.choice.classes == {1: "a, b=c", 2: "instrument"}


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("polip", "names 'polip', which is no label of the source .did you mean 'polyp'.*; there are polyp, tool"),
        ("polyp,polyp=tool", "names the label 'polyp' twice"),
        ("polyp,,tool", "has the entry ''"),
        ("=polyp", "has the entry '=polyp'"),
        ("polyp=", "has the entry 'polyp='"),
        ("polyp=a\tb", "control character"),
        (f"polyp={'a' * 201}", "has a name of 201 bytes, expected 200 at most"),
    ],
)
def test_wrong_choices_are_refused(tmp_path: Path, classes: str, words: str) -> None:
    with pytest.raises(SyndiffError, match=words):
        imported(coco(tmp_path / "s", *TWO), tmp_path / "out", "coco", classes=classes)


def test_more_labels_than_classes_are_told_apart(tmp_path: Path) -> None:
    several = [("a.png", f"label {number}", [0, 0, 2, 2]) for number in range(33)]
    with pytest.raises(SyndiffError, match="There are 33 labels, more than the 32"):
        imported(coco(tmp_path / "s", *several), tmp_path / "out", "coco")
    report = imported(tmp_path / "s" / "coco.json", tmp_path / "out", "coco", classes="label 3,label 7=label 3")
    assert report.left["drawn under the label 'label 9', which --classes does not name"] == 1


def test_groups_from_the_names(tmp_path: Path) -> None:
    source = coco(tmp_path / "s", *TWO)
    report = imported(source, tmp_path / "out", "coco", group_pattern=r"(\d+)_.*")
    assert report.groups == {"1_a": "1", "1_b": "1", "2_a": "2"}
    assert (tmp_path / "out" / "groups.csv").read_text() == "case,group\n1_a,1\n1_b,1\n2_a,2\n"
    assert "Groups       2, with 1 to 2 cases" in report.text()
    for pattern, words in [
        (r"(\d+", "is no regular expression"),
        (r"\d+_.*", "has 0 pairs of brackets; expected one"),
        (r"(\d+)_(a)", "has 2 pairs of brackets"),
        (r"(\d+)_a", "finds no group in 1 of 3 names: 1_b.png"),
        (r"(\d*?)_?.*", "finds no group in 3 of 3 names"),
    ]:
        with pytest.raises(SyndiffError, match=words):
            imported(source, tmp_path / "new", "coco", group_pattern=pattern)


def test_groups_from_a_table(tmp_path: Path) -> None:
    source = coco(tmp_path / "s", *TWO)
    table = written(tmp_path / "t.csv", "file,age,patient\n1_a.png,60,anna\n1_b,60,anna\n2_a,41,ben\n9,1,carl\n")
    report = imported(source, tmp_path / "out", "coco", groups=f"{table}:patient")
    assert report.groups == {"1_a": "anna", "1_b": "anna", "2_a": "ben"}
    assert report.left == {f"line of {table} that names no picture": 1}
    for text, option, words in [
        ("file,patient\n1_a,x\n", ":patient", "gives no group for 2 of 3 pictures: 1_b, 2_a"),
        ("file,patient\n1_a,x\n1_a,y\n", ":patient", "line 3: '1_a' has the group 'y' here and 'x' above"),
        ("file,patient\n1_a\n", ":patient", "line 2: found '1_a'; expected a picture and its patient"),
        ("file,patient\n", ":patience", "has no column 'patience' after its first.* .did you mean 'patient'"),
        ('file,patient\n"', ":patient", "line 2"),
        ("", "", "expected FILE.csv:column"),
    ]:
        path = written(tmp_path / "wrong.csv", text)
        with pytest.raises(SyndiffError, match=words):
            imported(source, tmp_path / "new", "coco", groups=f"{path}{option}")
    with pytest.raises(SyndiffError, match=r"none\.csv does not exist"):
        imported(source, tmp_path / "new", "coco", groups="none.csv:a")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a/b.png", "a_b.png"), "a/b.png and a_b.png would both become the case 'a_b'"),
        (("a.png", "a.jpg"), "a.png and a.jpg would both become the case 'a'"),
        ((".a.png",), "would become the case '.a'"),
        ((f"{'a' * 201}.png",), "expected at most 200 bytes"),
        (("e\u0301.png", "\xe9.png"), "would both become the case"),
        (("a.dcm",), "files that end in .dcm are not read; save the picture as PNG"),
    ],
)
def test_names_that_no_case_can_have(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    source = coco(tmp_path / "s", *((name.replace(".dcm", ".png"), "polyp", [1, 1, 3, 3]) for name in names))
    if ".dcm" in names[0]:
        source.write_text(source.read_text().replace("a.png", "a.dcm"))
        (tmp_path / "s" / "a.png").rename(tmp_path / "s" / "a.dcm")
    with pytest.raises(SyndiffError, match=words):
        imported(source, tmp_path / "out", "coco")


def test_an_accent_may_be_encoded_in_another_way(tmp_path: Path) -> None:
    """As macOS writes names: the annotation has one character where the file has two."""
    source = coco(tmp_path / "s", ("\xe9.png", "polyp", [1, 1, 3, 3]))
    (tmp_path / "s" / "\xe9.png").rename(tmp_path / "s" / "e\u0301.png")
    imported(source, tmp_path / "out", "coco")
    assert list(drawn(tmp_path / "out")) == ["\xe9"]


def turned(path: Path, orientation: int, width: int = 12, height: int = 10) -> Path:
    exif = Image.Exif()
    exif[0x112] = orientation
    return picture(path, width, height, exif=exif, quality=95)


def test_the_stated_size_tells_which_picture_was_annotated(tmp_path: Path) -> None:
    """Stored as 12 x 10, shown as 10 x 12 after a quarter turn clockwise (EXIF 6)."""
    turned(tmp_path / "shown" / "a.jpg", 6)
    imported(coco(tmp_path / "shown", ("a.jpg", "polyp", [0, 0, 3, 2]), size=(10, 12)), tmp_path / "one", "coco")
    assert np.array_equal(drawn(tmp_path / "one")["a"]["polyp"], box(0, 0, 2, 3, 10, 12))
    turned(tmp_path / "stored" / "a.jpg", 6)
    imported(coco(tmp_path / "stored", ("a.jpg", "polyp", [0, 0, 3, 2]), size=(12, 10)), tmp_path / "two", "coco")
    # the upper left corner of what is stored is the upper right one of what is shown
    assert np.array_equal(drawn(tmp_path / "two")["a"]["polyp"], box(0, 8, 3, 10, 10, 12))
    with pytest.raises(SyndiffError, match=r"12x10 .* but its picture is 10x12, or 12x10 as it is stored \(--exif t"):
        imported(tmp_path / "stored" / "coco.json", tmp_path / "new", "coco", exif="turned")


def test_where_the_size_does_not_tell_the_user_does(tmp_path: Path) -> None:
    """Upside down (EXIF 3): the size is the same either way."""
    turned(tmp_path / "s" / "a.jpg", 3)
    source = coco(tmp_path / "s", ("a.jpg", "polyp", [0, 0, 3, 2]))
    with pytest.raises(SyndiffError, match=r"bears the EXIF orientation 3, .* say so with --exif turned"):
        imported(source, tmp_path / "out", "coco")
    imported(source, tmp_path / "turned", "coco", exif="turned")
    imported(source, tmp_path / "stored", "coco", exif="stored")
    assert np.array_equal(drawn(tmp_path / "turned")["a"]["polyp"], box(0, 0, 2, 3))
    assert np.array_equal(drawn(tmp_path / "stored")["a"]["polyp"], box(8, 9, 10, 12))


def test_a_mask_file_of_a_turned_picture(tmp_path: Path) -> None:
    turned(tmp_path / "s" / "images" / "a.jpg", 6)
    mask_file(tmp_path / "s" / "masks" / "a.png", 255 * box(0, 0, 2, 3))
    imported(tmp_path / "s", tmp_path / "out", "masks")
    assert np.array_equal(drawn(tmp_path / "out")["a"]["foreground"], box(0, 8, 3, 10, 10, 12))


def test_cases_that_cannot_be_taken_are_all_named_or_left(tmp_path: Path) -> None:
    source = coco(tmp_path / "s", *TWO)
    (tmp_path / "s" / "1_b.png").write_bytes(b"no picture")
    (tmp_path / "s" / "2_a.png").unlink()
    with pytest.raises(SyndiffError, match=r"(?s)2 of 3 cases.*1_b.png is damaged.*2_a.png does not exist.*--skip"):
        imported(source, tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()
    report = imported(source, tmp_path / "out", "coco", skip=True)
    assert list(report.names) == ["1_a"] and list(report.skipped) == ["1_b.png", "2_a.png"]
    assert "Left\n  - 1_b.png:" in report.text()
    assert json.loads((tmp_path / "out" / "import.json").read_text())["skipped"] == report.skipped


def test_the_report_beside_dataset_json(tmp_path: Path) -> None:
    imported(coco(tmp_path / "s", *TWO), tmp_path / "out", "coco", classes="polyp", group_pattern=r"(\d).*")
    told = json.loads((tmp_path / "out" / "import.json").read_text())
    assert told["options"] == {"classes": "polyp", "group_pattern": r"(\d).*"} | {"format": "coco"}
    assert told["classes"] == {"polyp": {"number": 1, "cases": 2, "drawn": 2}}
    assert told["names"] == {"1_a": "1_a.png", "1_b": "1_b.png", "2_a": "2_a.png"}
    assert told["empty_masks"] == ["2_a"] and told["groups"] == 2
    assert told["left"] == {"drawn under the label 'tool', which --classes does not name": 1}


def test_nothing_is_left_when_the_disk_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, calls = coco(tmp_path / "s", *TWO), []

    def full(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(writing, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        imported(source, tmp_path / "deep" / "out", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_a_folder_in_use_is_not_written_into(tmp_path: Path) -> None:
    source = coco(tmp_path / "s", *TWO)
    (tmp_path / "empty").mkdir()
    check_new_folder(tmp_path / "empty")
    imported(source, tmp_path / "empty", "coco")
    with pytest.raises(SyndiffError, match="exists already and is not an empty folder"):
        imported(source, tmp_path / "empty", "coco")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(SyndiffError, match="exists already"):
        imported(source, tmp_path / "link", "coco")


def test_the_command_line_knows_every_format() -> None:
    assert get_args(get_type_hints(Import)["format"]) == get_args(Format) == tuple(READERS)


def test_the_command_line(tmp_path: Path, syndiff: Callable[..., Outcome]) -> None:
    source = coco(tmp_path / "s", *TWO)
    command = ["data", "import", "--from", "coco", source, "--out", tmp_path / "out", "--classes", "polyp,tool=polyp"]
    tried = syndiff(*command, "--dry-run")
    assert tried.status == 0 and "Nothing was written" in tried.out
    assert not (tmp_path / "out").exists()
    done = syndiff(*command)
    assert done.out.splitlines()[:3] == [
        f"Imported     COCO, {source}",
        "Cases        3",
        "Classes      1 polyp: in 3 cases, drawn 3 times",
    ]
    assert tried.out.splitlines()[:-1] == done.out.splitlines()[:-1]
    assert syndiff("data", "inspect", "--data", tmp_path / "out").status == 0
    for arguments, words in [
        (["--from", "coco", tmp_path / "none"], "none does not exist"),
        (
            ["--from", "coco", source, "--threshold", "3"],
            "--threshold means nothing with --from coco",
        ),
        (["--from", "nnunet", tmp_path / "s", "--images", tmp_path], "--images means nothing with --from nnunet"),
        (["--from", "coco", source, "--groups", "a:b", "--group-pattern", "(.)"], "are both given"),
    ]:
        refused = syndiff("data", "import", *arguments, "--out", tmp_path / "new")
        assert refused.status == 2 and words in refused.err
