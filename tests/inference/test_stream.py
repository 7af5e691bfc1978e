"""Reading, segmenting and writing at once: errors of one source are told, errors of all end the work in order."""

import csv
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syndiff.errors import SyndiffError
from syndiff.files import claimed
from syndiff.inference.formats.base import Frame
from syndiff.inference.inputs import KIND, Input, find_inputs
from syndiff.inference.journal import NAME
from syndiff.inference.ledger import Outcome
from syndiff.inference.predict import predict_into
from syndiff.inference.stream import Segment
from syndiff.models.predictor import Prediction


def bright(_: Input, frame: Frame) -> Prediction:
    """A segmenter that sees a lesion wherever the red of a picture is bright."""
    probability = frame.image[..., 0].astype(np.float32) / np.float32(np.iinfo(frame.image.dtype).max)
    return Prediction(mask=probability > np.float32(0.5), probability=probability, seconds={})


def predict(images: Path, out: Path, segment: Segment = bright, extras: frozenset[str] = frozenset()) -> Outcome:
    """What the verb does, with a segmenter of its own."""
    with claimed(out, KIND):
        return predict_into(out, find_inputs(images, out), {"engine": "none"}, segment, extras, progress=False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def write_stack(path: Path, pages: int, *, damaged: bool = False) -> np.ndarray:
    """A TIFF of grey pages, 8 or 16 bits in turn and each wider than the last; returns what each shows."""
    generator = np.random.default_rng(1)
    drawn = [generator.integers(0, 255, (20, 24 + page), dtype=np.uint8) for page in range(pages)]
    first, *rest = [Image.fromarray(page) for page in drawn]
    first.save(path, save_all=True, append_images=rest, compression="tiff_lzw")
    if damaged:
        path.write_bytes(path.read_bytes()[:-400])
    return drawn


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(out: Path) -> list[list[str]]:
    lines = (out / "predictions.csv").read_text(encoding="utf-8").splitlines()
    return [line.split(",") for line in lines[1:]]


def test_a_stack_gives_a_stack_and_a_row_a_page(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pages = write_stack(tmp_path / "in" / "stack.tif", 250)
    outcome = predict(tmp_path / "in", tmp_path / "out")
    assert (outcome.written, outcome.frames, outcome.problems) == (1, 250, [])
    with Image.open(tmp_path / "out" / "stack.tif") as stored:
        assert stored.n_frames == 250
        for number, page in enumerate(pages):
            stored.seek(number)
            assert np.array_equal(np.asarray(stored), (page > 127) * np.uint8(255))
    table = rows(tmp_path / "out")
    assert [row[1] for row in table] == [f"{number + 1:04d}" for number in range(250)]
    assert [int(row[5]) for row in table] == [int((page > 127).sum()) for page in pages]
    assert {row[-1] for row in table} == {"stack.tif"}
    assert predict(tmp_path / "in", tmp_path / "out").present == 1


def test_extras_of_a_stack_lie_in_a_folder_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_stack(tmp_path / "in" / "stack.tif", 2)
    predict(tmp_path / "in", tmp_path / "out", extras=frozenset({"overlay", "probability"}))
    assert {"stack/0001.overlay.jpg", "stack/0002.probability.png", "stack.tif"} <= files(tmp_path / "out").keys()
    write_stack(tmp_path / "in" / "stack.tif", 1)
    predict(tmp_path / "in", tmp_path / "out")
    assert {"stack.png", "predictions.csv"} == {name for name in files(tmp_path / "out") if "json" not in name}


def test_a_stack_that_breaks_off_leaves_nothing_and_the_rest_goes_on(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_stack(images / "3.tif", 30, damaged=True)
    outcome = predict(images, out)
    assert outcome.written == 6 and len(outcome.problems) == 1 and "3.tif" in outcome.problems[0]
    assert {f"{name}.png" for name in ("0", "1", "2", "3-png", "4", "5")} == {
        name for name in files(out) if name.endswith(("png", "tif"))
    }
    assert [row[0] for row in rows(out)] == [f"{number}.png" for number in range(6)]


def test_an_imagej_stack_behind_one_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    Image.new("L", (8, 8)).save(path, tiffinfo={270: "ImageJ=1.53\nimages=40\nslices=40\n"})
    assert "40 slices behind a single page" in predict(path, tmp_path / "out").problems[0]


def test_an_answer_that_cannot_be_given_is_a_problem_of_its_source_alone(images: Path, tmp_path: Path) -> None:
    write_stack(images / "2.tif", 40)

    def segment(file: Input, frame: Frame) -> Prediction:
        if frame.name == "0003" or file.stem == "4":
            raise SyndiffError(f"no finite numbers for {file.stem}")
        return bright(file, frame)

    outcome = predict(images, tmp_path / "out", segment)
    assert outcome.problems == ["no finite numbers for 2", "no finite numbers for 4"] and outcome.written == 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_half_written_is_left_and_the_same_call_goes_on(
    images: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    write_stack(images / "2.tif", 40)
    predict(images, tmp_path / "whole")

    def segment(file: Input, frame: Frame) -> Prediction:
        if frame.name == "0030":
            raise error
        return bright(file, frame)

    out = tmp_path / "out"
    with pytest.raises(error):
        predict(images, out, segment)
    left = files(out)
    assert not any("2-tif" in name or "syndiff-" in name for name in left)
    assert len(rows(out)) == sum(name.endswith(".png") for name in left)  # the table has what is there
    assert predict(images, out).problems == []
    expected, found = files(tmp_path / "whole"), files(out)
    assert expected.keys() == found.keys()
    assert {name for name in expected if expected[name] != found[name]} <= {NAME}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [100, 900, 1500])
def test_a_disk_that_fills_ends_the_work_at_once_and_the_same_call_goes_on(
    images: Path, tmp_path: Path, room: int
) -> None:
    """A limit on the size of files stands for it: the journal meets it in the middle."""
    predict(images, tmp_path / "whole")
    out = tmp_path / "out"
    with files_of_at_most(room), pytest.raises(OSError, match="File too large"):
        predict(images, out)
    assert not any("syndiff-" in name for name in files(out))
    assert predict(images, out).problems == []
    assert files(out) == files(tmp_path / "whole")


def test_a_folder_that_changes_while_it_is_read(images: Path, tmp_path: Path) -> None:
    def segment(file: Input, frame: Frame) -> Prediction:
        if file.stem == "0":
            for path in images.iterdir():
                if path.stem != "0":
                    path.unlink()
            (images / "new.png").write_bytes(b"")
        return bright(file, frame)

    outcome = predict(images, tmp_path / "out", segment)
    assert all("does not exist" in problem or "damaged" in problem for problem in outcome.problems)
    assert outcome.written + len(outcome.problems) == 6


def test_an_output_that_is_anothers_is_not_replaced(tmp_path: Path) -> None:
    """The overlays of a stack's pages lie where a folder of the same name has its masks."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    write_stack(tmp_path / "in" / "a.tif", 2)
    Image.new("RGB", (9, 9)).save(tmp_path / "in" / "a" / "0001.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "in" / "a" / "0001.overlay.png")
    outcome = predict(tmp_path / "in", tmp_path / "out", extras=frozenset({"overlay"}))
    assert outcome.written == 2 and "is an output of a/0001.png already" in outcome.problems[0]
    assert Image.open(tmp_path / "out" / "a" / "0001.overlay.jpg").size == (9, 9)


def test_the_table_is_safe_to_open_in_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("=cmd|' '!A1", "@x", "-1", 'quote",comma', "plain"):
        Image.new("RGB", (9, 8), (200, 0, 0)).save(tmp_path / "in" / f"{name}.png")
    predict(tmp_path / "in", tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["source"] for row in table} == {
        "'=cmd|' '!A1.png",
        "'@x.png",
        "'-1.png",
        'quote",comma.png',
        "plain.png",
    }
    assert all(not row["output"].startswith(("=", "@", "-")) for row in table)
    numbers = {"width": "9", "height": "8", "area_pixels": "72", "lesions": "1", "area_mm2": ""}
    assert all(numbers.items() <= row.items() for row in table)
    assert {row["mean_probability"] for row in table} == {f"{200 / 255:.6f}"}


def test_what_a_user_changed_in_the_table_is_kept(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(images, out)
    with (out / "predictions.csv").open("a", encoding="utf-8") as file:
        file.write("my notes\n")
    predict(images, out)
    assert "my notes" in (out / "predictions.csv").read_text(encoding="utf-8")
    (out / "0.png").unlink()
    predict(images, out)
    assert "my notes" not in (out / "predictions.csv").read_text(encoding="utf-8")
    assert "my notes" in (out / "predictions.earlier-1.csv").read_text(encoding="utf-8")


def test_the_mask_of_another_folder_is_not_replaced_but_that_of_a_moved_one_is_kept(
    images: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    predict(images, out)
    before = files(out)
    other.mkdir()
    Image.new("RGB", (40, 30), (255, 0, 0)).save(other / "0.png")
    outcome = predict(other, out)
    assert "would replace what was made from" in outcome.problems[0] and files(out) == before
    images.rename(tmp_path / "moved")
    assert predict(tmp_path / "moved", out).present == 6
    assert predict(other, out).written == 1  # the image that stood there is no more


@pytest.mark.parametrize("way", ["file", "link"])
def test_a_name_that_cannot_be_written_does_not_stop_the_others(images: Path, tmp_path: Path, way: str) -> None:
    (images / "sub").mkdir()
    Image.new("RGB", (9, 9)).save(images / "sub" / "a.png")
    predict(images / "0.png", tmp_path / "out")
    if way == "file":
        (tmp_path / "out" / "sub").write_text("mine", encoding="utf-8")
    else:
        (tmp_path / "out" / "sub").symlink_to("nowhere/at/all")
    outcome = predict(images, tmp_path / "out")
    assert outcome.written == 5 and outcome.present == 1
    assert len(outcome.problems) == 1 and "sub cannot be written" in outcome.problems[0]
    assert not any("syndiff-" in name for name in files(tmp_path / "out"))
