"""What is to be predicted, and names under which no output meets another or leaves its folder."""

import io
import os
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.inference.inputs import KIND, RESERVED, Input, find_inputs, output_names


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def named(files: list[Input]) -> list[tuple[str, str]]:
    return [(each.source, each.name) for each in files]


def an_input(source: str, stem: str, ending: str) -> Input:
    return Input(Path(source), source, stem, ending)


def test_a_folder_with_all_below_it(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    touch(folder / "b.PNG", folder / "a" / "x.jpg", folder / "a" / "deep" / "1.2.840.tif", folder / "a" / "._x.jpg")
    touch(folder / ".cache" / "y.png", folder / "masks" / "b.png", folder / "own" / "b.png", folder / "z.doc")
    write_json(folder / "masks" / ".syndiff.json", {"kind": KIND})
    (folder / "loop").symlink_to(folder)
    found = find_inputs(folder, folder / "own")
    assert named(found.files) == [("a/deep/1.2.840.tif", "a/deep/1.2.840"), ("a/x.jpg", "a/x"), ("b.PNG", "b")]
    assert found.ignored == {
        "hidden files": [".cache", "a/._x.jpg"],
        "links to folders": ["loop"],
        "folders of predictions": ["masks"],
        "files of other kinds": ["z.doc"],
    }


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.png", tmp_path / "in" / "locked" / "b.png")
    (tmp_path / "in" / "locked").chmod(0)
    try:
        found = find_inputs(tmp_path / "in", tmp_path / "out")
    finally:
        (tmp_path / "in" / "locked").chmod(0o700)
    assert named(found.files)[0] == ("a.png", "a")
    if os.geteuid():  # root may look anywhere
        assert "locked cannot be looked into (Permission denied)" in found.problems[0]


def test_a_glob_keeps_the_tree_below_its_first_wildcard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "in" / "p1" / "a 1.png", tmp_path / "in" / "p2" / "a 1.png", tmp_path / "in" / "p2" / "n.txt")
    monkeypatch.chdir(tmp_path)
    expected = [("p1/a 1.png", "p1/a 1"), ("p2/a 1.png", "p2/a 1")]
    for pattern in ("in/*/*", "./in/p?/*", tmp_path / "in" / "**"):
        assert named(find_inputs(pattern, tmp_path / "out").files) == expected
    climbing = find_inputs("in/*/../p1/a*", tmp_path / "out").files
    assert {name for _, name in named(climbing)} == {"p1/p1/a 1", "p2/p1/a 1"}
    with pytest.raises(SyndiffError, match="names no images"):
        find_inputs("in/*.jpg", tmp_path / "out")


def test_a_list_keeps_the_tree_below_what_all_have_in_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "d" / "p1" / "a.png", tmp_path / "d" / "x.png", tmp_path / "here" / "b c.png")
    monkeypatch.chdir(tmp_path / "here")
    lines = [
        "../d/p1/a.png",
        "",
        "../../" + tmp_path.name + "/d/x.png",
        "b c.png",
        "./b c.png",
        "absent.png",
        "._b.png",
    ]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found = find_inputs(tmp_path / "list.txt", tmp_path / "out")
    assert [name for _, name in named(found.files)] == ["d/p1/a", "d/x", "here/b c", "here/absent"]
    assert all(Path(source).is_absolute() for source, _ in named(found.files))
    assert found.ignored == {"paths that stand twice in the list": ["b c.png"], "hidden files": ["._b.png"]}
    read = SimpleNamespace(buffer=io.BytesIO((tmp_path / "list.txt").read_bytes()))
    monkeypatch.setattr("sys.stdin", read)
    assert named(find_inputs("-", tmp_path / "out").files) == named(found.files)


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "names no images"), ("a.png".encode("utf-16"), "UTF-16"), (b"\n\n", "names no images")]
)
def test_a_list_of_nothing(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(SyndiffError, match=told):
        find_inputs(f"@{tmp_path / 'list'}", tmp_path / "out")
    with pytest.raises(SyndiffError, match=r"absent\.txt cannot be read"):
        find_inputs(f"@{tmp_path / 'absent.txt'}", tmp_path / "out")


def test_an_image_within_the_folder_of_masks_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "out" / "deep" / "a.png", tmp_path / "in" / "b.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out" / "deep" / "a.png")
    for images in (tmp_path / "in", tmp_path / "out" / "deep", tmp_path / "out" / "deep" / "a.png"):
        with pytest.raises(SyndiffError, match="overwrite images"):
            find_inputs(images, tmp_path / "out")


LETTERS = st.text("aAé\u0301.-x1 ", min_size=1, max_size=4)
SOURCES = st.lists(
    st.tuples(LETTERS, st.sampled_from([*RESERVED, ""]), st.sampled_from([".png", ".PNG", ".jpg", ""])), unique=True
)


@given(SOURCES, st.data())
def test_every_output_has_a_name_of_its_own_that_never_changes(sources, data) -> None:
    files = [an_input(stem + middle + ending, stem + middle, ending) for stem, middle, ending in sources]
    files = list({each.source: each for each in files}.values())
    names = output_names(files, {})
    folded = {PurePosixPath(name).as_posix().casefold() for name in names.values()}
    assert len(folded) == len(files) and not any(name.endswith(RESERVED) for name in folded)
    known = {source: name for source, name in names.items() if data.draw(st.booleans())}
    resumed = output_names(files, known)
    assert {source: resumed[source] for source in known} == known
    assert len({name.casefold() for name in resumed.values()}) == len(files)
    added = [*files, an_input("new.bmp", files[0].name if files else "new", ".bmp")]
    assert {source: output_names(added, names)[source] for source in names} == names


def test_two_of_one_name_carry_their_endings_and_the_first_one_stays() -> None:
    both = [an_input("a.jpg", "a", ".jpg"), an_input("a.png", "a", ".png"), an_input("a-png.png", "a-png", ".png")]
    assert output_names(both, {}) == {"a.jpg": "a-jpg", "a.png": "a-png-2", "a-png.png": "a-png"}
    assert output_names(both[:2], {"a.jpg": "a-jpg"})["a.png"] == "a-png"  # a kill between the two
    assert output_names(both[:2], {"a.png": "a"}) == {"a.png": "a", "a.jpg": "a-jpg"}


def test_a_folder_called_like_our_own_files_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.png", tmp_path / "in" / "Predictions.csv" / "b.png")
    found = find_inputs(tmp_path / "in", tmp_path / "out")
    assert named(found.files) == [("a.png", "a")]
    assert "rename the folder" in found.problems[0]


def test_a_name_with_brackets_is_explained(tmp_path: Path) -> None:
    touch(tmp_path / "br[1]" / "a.png")
    with pytest.raises(SyndiffError, match="In a glob"):
        find_inputs(str(tmp_path / "br[1]" / "*.png"), tmp_path / "out")
    assert named(find_inputs(tmp_path / "br[1]", tmp_path / "out").files) == [("a.png", "a")]
