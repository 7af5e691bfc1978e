"""Names of files: what stands for a case, what is refused, what was meant by a file that is almost a table."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.listing import MAX_STEM, natural
from syndiff.errors import SyndiffError

COMPOSED = "pólipo"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def add(root: Path, image: str, mask: str) -> None:
    for folder, name in (("images", image), ("masks", mask)):
        (root / folder).mkdir(exist_ok=True)
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(root / folder / name)


def refusal(root: Path) -> str:
    with pytest.raises(SyndiffError) as error:
        Dataset.open(root)
    message = str(error.value)
    assert "\n" not in message and len(message) < 1000
    message.encode()
    return message


def test_names_that_differ_in_unicode_form_alone_are_one_case(tmp_path: Path) -> None:
    add(tmp_path, f"{COMPOSED}.png", f"{DECOMPOSED}.png")
    add(tmp_path, f"{DECOMPOSED} 2.png", f"{DECOMPOSED} 2.png")
    rows = [f"{DECOMPOSED},{COMPOSED}", f"{COMPOSED} 2,{DECOMPOSED}"]
    (tmp_path / "groups.csv").write_text("\n".join(["case,group", *rows]), encoding="utf-8")
    cases = Dataset.open(tmp_path).cases
    assert [(case.id, case.group) for case in cases] == [(COMPOSED, COMPOSED), (f"{COMPOSED} 2", COMPOSED)]


def test_two_names_of_one_unicode_form_collide(tmp_path: Path) -> None:
    add(tmp_path, f"{COMPOSED}.png", f"{COMPOSED}.png")
    add(tmp_path, f"{DECOMPOSED}.png", f"{COMPOSED}.png")
    assert "differ only in how accents are encoded" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"p\xf3lipo", "p\\xf3lipo.png, is no UTF-8"),
        (b"a\nb", "'a\\nb.png', holds a line break"),
        ("a\u2028b".encode(), "holds a line break"),
        (b"n" * (MAX_STEM + 1), f"{MAX_STEM + 1} bytes before its extension"),
        ("é".encode() * (MAX_STEM // 2 + 1), "bytes before its extension"),
    ],
)
def test_names_that_cannot_be_written_everywhere_are_refused(tmp_path: Path, name: bytes, words: str) -> None:
    add(tmp_path, os.fsdecode(name + b".png"), os.fsdecode(name + b".png"))
    assert words in refusal(tmp_path)


def test_the_longest_name_is_read(tmp_path: Path) -> None:
    add(tmp_path, "n" * MAX_STEM + ".png", "n" * MAX_STEM + ".png")
    assert len(Dataset.open(tmp_path).cases) == 1


def test_a_folder_whose_own_name_is_no_utf_8(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    root.mkdir()
    add(root, "a.png", "a.png")
    assert "caf\\xe9, is no UTF-8" in refusal(root)


@pytest.mark.parametrize(
    ("there", "table"),
    [
        *((name, "groups.csv") for name in ("Groups.csv", "group.csv", "groups.csv.txt", "images/groups.csv")),
        *((name, "groups.csv") for name in ("groups (1).csv", "groups - Copy.csv", "groups.xlsx", "masks/Group.csv")),
        *((name, "captions.csv") for name in ("caption.csv", "Captions.CSV.txt")),
        *((name, "dataset.json") for name in ("Dataset.json", "dataset.json.txt", "datasets.json", "dataset.yaml")),
    ],
)
def test_a_file_that_is_almost_a_table_is_refused_while_the_table_is_absent(
    tmp_path: Path, there: str, table: str
) -> None:
    add(tmp_path, "a.png", "a.png")
    (tmp_path / there).write_text("case,group\na,1\n")
    if (tmp_path / table).exists():
        pytest.skip("this file system does not tell capitals apart")
    message = refusal(tmp_path)
    assert str(tmp_path / there) in message and str(tmp_path / table) in message
    (tmp_path / table).write_text("{}" if table.endswith("json") else f"case,{table[:-5]}\na,x\n")
    assert len(Dataset.open(tmp_path).cases) == 1


@pytest.mark.parametrize("name", ["README_dataset.txt", "patients.csv", "data.json", "notes.txt", ".groups.csv"])
def test_other_files_beside_the_images_are_left_alone(tmp_path: Path, name: str) -> None:
    add(tmp_path, "a.png", "a.png")
    (tmp_path / name).write_text("x")
    assert len(Dataset.open(tmp_path).cases) == 1


def test_a_picture_that_is_not_read_is_named_where_it_is_missed(tmp_path: Path) -> None:
    add(tmp_path, "a.png", "a.png")
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "a.gif")
    add(tmp_path, "b.png", "b.png")
    assert "images/a.gif is not read: save as PNG" in refusal(tmp_path)
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "b_image.png")
    (tmp_path / "images" / "a.gif").rename(tmp_path / "images" / "a.png")
    assert "masks holds b instead" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["images/x.png", "groups.csv", "captions.csv", "dataset.json"])
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path, name: str) -> None:
    add(tmp_path, "a.png", "a.png")
    os.mkfifo(tmp_path / name)
    assert f"{tmp_path / name} is a pipe" in refusal(tmp_path)


def test_a_folder_in_place_of_a_table(tmp_path: Path) -> None:
    add(tmp_path, "a.png", "a.png")
    (tmp_path / "groups.csv").mkdir()
    assert "groups.csv is a folder" in refusal(tmp_path)


NAMES = st.text(max_size=12) | st.from_regex(r"[a-c]?[0-9٣]{1,3}[a-c]?", fullmatch=True)


@given(NAMES, NAMES)
def test_of_any_two_names_one_comes_first(one: str, other: str) -> None:
    first, second = natural(one), natural(other)
    assert (first < second) + (second < first) + (one == other) == 1


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_in_names_are_in_the_order_of_their_values(one: int, other: int) -> None:
    assert (natural(f"f{one}.png") < natural(f"f{other}.png")) == (one < other)
