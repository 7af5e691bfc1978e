"""Predicting into a folder: nobody's file is replaced, the same command goes on, a bad image does not stop the rest."""

import json
import os
import resource
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import syndiff as package
from syndiff.documents import read_objects
from syndiff.files import write_json
from syndiff.models.prediction import model_description
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.tensors import trainable_state, write_tensors


def write_run(folder: Path, seed: int) -> Path:
    """A checkpoint with untrained weights."""
    settings = SegmenterSettings(image_size=32, pretrained=False, condition_channels=8, denoiser_channels=8)
    model = initialise(settings, seed)
    write_tensors(folder / "model.safetensors", trainable_state(model))
    write_json(folder / "model.json", model_description(settings, model, step=7, val_dice=0.5))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), 0)


def draw(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 24 + seed, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def images(tmp_path):
    return [draw(tmp_path / "images" / f"i{seed}.png", seed) for seed in range(4)]


@pytest.fixture
def predict(syndiff, run, images, tmp_path):
    def call(*more, images=images[0].parent, out=tmp_path / "masks", run=run):
        return syndiff("predict", "--run", run, "--images", images, "--out", out, *more)

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_annotations_are_never_replaced(predict, phantom):
    before = contents(phantom / "masks")
    outcome = predict(images=phantom / "images", out=phantom / "masks")
    assert outcome.status == 2 and "holds other files" in outcome.err
    assert contents(phantom / "masks") == before


def test_the_same_command_predicts_only_what_is_missing_or_new(predict, images, tmp_path):
    assert "4 masks written" in predict().out
    masks = tmp_path / "masks"
    first = contents(masks)
    assert len({first[f"i{number}.png"] for number in range(4)}) == 4
    (masks / "i2.png").unlink()
    draw(images[3], seed=9)
    images[0].unlink()  # its mask stays
    draw(images[0].with_name("j.png"))
    again = predict()
    assert again.status == 0 and "3 masks written" in again.out and "1 were there already" in again.out
    second = contents(masks)
    assert {name: second[name] for name in ("i0.png", "i1.png", "i2.png")} == {
        name: first[name] for name in ("i0.png", "i1.png", "i2.png")
    }
    assert second["i3.png"] != first["i3.png"] and "j.png" in second
    assert "0 masks written" in predict().out and contents(masks) == second


@pytest.mark.parametrize("image_changed", [False, True])
def test_a_mask_corrected_by_hand_is_kept_and_named(predict, images, tmp_path, image_changed):
    predict()
    mask = tmp_path / "masks" / "i1.png"
    Image.new("L", (24, 20), 255).save(mask)
    corrected = mask.read_bytes()
    if image_changed:
        draw(images[1], seed=9)
    outcome = predict()
    assert outcome.status == 1 and str(mask) in outcome.err and "by hand" in outcome.err
    assert mask.read_bytes() == corrected
    mask.rename(tmp_path / "mine.png")
    assert predict().status == 0 and mask.exists()


def test_a_kill_between_a_mask_and_its_line_costs_nothing(predict, tmp_path):
    predict()
    masks = tmp_path / "masks"
    whole = contents(masks)
    journal = masks / "predictions.jsonl"
    for kept in range(len(whole["predictions.jsonl"])):
        if kept % 390 == 0:  # cut anywhere, within a line or between two
            journal.write_bytes(whole["predictions.jsonl"][:kept])
            (masks / "predictions.csv").unlink()  # there is none while masks are written
            assert predict().status == 0
            assert contents(masks) == whole


@pytest.mark.parametrize(
    "more", [["--seed", 1], ["--tta", 2], ["--steps", 2], ["--timestep", 50], ["--refine", "lesions"]]
)
def test_other_settings_are_refused_with_both_values(predict, tmp_path, more):
    predict()
    before = contents(tmp_path / "masks")
    outcome = predict(*more)
    assert outcome.status == 2 and f"is now {more[1]}" in outcome.err and f"{more[0][2:]} was " in outcome.err
    assert contents(tmp_path / "masks") == before


def test_other_weights_are_refused(predict, tmp_path):
    predict()
    outcome = predict(run=write_run(tmp_path / "other", seed=1))
    assert outcome.status == 2 and "weights was" in outcome.err


@pytest.mark.parametrize(
    "line", ["hello", "[1]", '{"image": "a.png"}', '{"mask": "a.png", "mask": "b.png"}', "\udcff", "[" * 9999]
)
def test_a_damaged_record_is_a_sentence(predict, tmp_path, line):
    predict()
    with (tmp_path / "masks" / "predictions.jsonl").open("ab") as file:
        file.write(os.fsencode(line) + b"\n")
    outcome = predict()
    assert outcome.status == 2 and "predictions.jsonl, line 6" in outcome.err


def test_unreadable_images_do_not_stop_the_others(predict, images, tmp_path):
    folder = images[0].parent
    images[1].write_bytes(images[1].read_bytes()[:200])
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(images[0].read_bytes())
    outcome = predict()
    assert outcome.status == 1 and "3 masks written" in outcome.out
    for name in ("i1.png", "dangling.png", "loop.png", "pipe.png", "UTF-8"):
        assert name in outcome.err
    there = [".syndiff.json", "i0.png", "i2.png", "i3.png", "predictions.csv", "predictions.jsonl"]
    assert sorted(contents(tmp_path / "masks")) == there
    again = predict()
    assert again.status == 1 and "3 were there already" in again.out


def test_pictures_of_every_kind_and_a_bomb(predict, images, tmp_path):
    folder = tmp_path / "kinds"
    picture = Image.open(draw(folder / "a.bmp", 5))
    picture.quantize(16).save(folder / "palette.png")
    for name in ("b.jpg", "c.webp", "d.tif"):
        picture.save(folder / name)
    Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    bomb = bytearray((images[0]).read_bytes())
    bomb[16:24] = (60_000).to_bytes(4) * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4)
    (folder / "bomb.png").write_bytes(bomb)
    outcome = predict(images=folder)
    assert outcome.status == 1 and "6 masks written" in outcome.out and "1 not written" in outcome.out
    assert "bomb.png has more than 100,000,000 pixels" in outcome.err and "Traceback" not in outcome.err
    sizes = {Image.open(path).size for path in (tmp_path / "masks").glob("*.png")}
    assert sizes == {(29, 20)}


def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(predict, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # the journal will meet it
    try:
        outcome = predict()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = [line for line in outcome.err.splitlines() if line.startswith("syndiff:")]
    assert outcome.status == 2 and len(said) == 1 and "larger than this system allows" in said[0]
    assert not [path for path in (tmp_path / "masks").rglob("*") if "syndiff-" in path.name]
    assert predict().status == 0 and (tmp_path / "masks" / "predictions.csv").exists()


def test_another_engine_is_refused_by_its_name(predict):
    outcome = predict("--engine", "magic")
    assert outcome.status == 2 and "onnx" in outcome.err


def test_what_is_not_read_is_named(predict, images, tmp_path):
    folder = images[0].parent
    for name in ("note.txt", "._x.jpg", "deep/list.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x", encoding="utf-8")
    (folder / "elsewhere").symlink_to(tmp_path)
    outcome = predict()
    assert outcome.status == 0
    for told in ("hidden files (1: ._x.jpg)", "files of other kinds (2: deep/list.csv, note.txt)", "folders (1: elsew"):
        assert told in outcome.out
    for path in images:
        path.unlink()
    empty = predict()
    assert empty.status == 2 and "holds no images; expected files ending in .avi, " in empty.err and "._x" in empty.err


def test_two_images_of_one_stem_get_two_masks(predict, images, tmp_path):
    Image.open(images[2]).save(images[2].with_suffix(".jpg"))
    assert predict().status == 0
    assert (tmp_path / "masks" / "i2-png.png").exists() and (tmp_path / "masks" / "i2-jpg.png").exists()


def test_an_image_added_later_does_not_move_the_mask_of_another(predict, images, tmp_path):
    predict()
    first = contents(tmp_path / "masks")
    Image.open(images[2]).transpose(Image.Transpose.ROTATE_90).save(images[2].with_suffix(".bmp"))
    outcome = predict()
    assert outcome.status == 0 and "1 masks written" in outcome.out
    second = contents(tmp_path / "masks")
    assert second["i2.png"] == first["i2.png"] and Image.open(tmp_path / "masks" / "i2-bmp.png").size == (20, 26)


def test_a_tree_is_kept(predict, tmp_path):
    folder = tmp_path / "study"
    for name in ("b/2 of 3.png", "a/x.png", "a/deep/x.PNG", "top.png"):
        draw(folder / name)
    for _ in range(2):
        assert predict(images=folder, out=folder / "masks").status == 0
    masks = {path.relative_to(folder / "masks").as_posix() for path in (folder / "masks").rglob("*.png")}
    assert masks == {"b/2 of 3.png", "a/x.png", "a/deep/x.png", "top.png"}


def test_a_picture_has_the_same_mask_however_it_is_named(predict, images, tmp_path, monkeypatch):
    predict()
    expected = (tmp_path / "masks" / "i1.png").read_bytes()
    listed = tmp_path / "list.txt"
    listed.write_text("images/i1.png\r\n\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for number, named in enumerate((images[1], "imag*/i[1].png", "list.txt", "@list.txt", "-")):
        out = tmp_path / f"out{number}"
        with listed.open(encoding="utf-8") as lines:
            monkeypatch.setattr("sys.stdin", lines)
            assert predict(images=named, out=out).status == 0
        assert [path.read_bytes() for path in out.rglob("*.png")] == [expected]


def test_maps_and_overlays_come_on_request(predict, images, tmp_path):
    predict()
    masks = tmp_path / "masks"
    before = contents(masks)
    outcome = predict("--probability", "--overlay")
    assert outcome.status == 0 and "4 masks written" in outcome.out
    assert "4 were there already" in predict("--overlay").out
    with Image.open(masks / "i3.probability.png") as stored:
        probability = np.asarray(stored)
    assert probability.dtype == np.uint16
    mask = np.asarray(Image.open(masks / "i3.png")) > 0
    assert mask.any() and (probability[mask] >= 32767).all() and (probability[~mask] <= 32768).all()
    assert Image.open(masks / "i3.overlay.jpg").size == (27, 20)
    draw(images[3], seed=9)
    assert predict().status == 0 and not (masks / "i3.overlay.jpg").exists()  # it would show what is no more
    assert contents(masks)["i1.png"] == before["i1.png"]


def test_a_folder_of_an_earlier_version_goes_on(predict, images, tmp_path):
    """The first format: a flat folder, a line a mask, no table."""
    predict()
    masks = tmp_path / "masks"
    header, *lines = read_objects(masks / "predictions.jsonl", {})
    old = [{name: value for name, value in header.items() if name != "engine"} | {"format": 1}]
    for line in lines[:3]:
        (mask, checksum) = next(iter(line["files"].items()))
        old.append({"image": line["source"], "image_sha256": line["sha256"], "mask": mask, "mask_sha256": checksum})
    (masks / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old), encoding="utf-8")
    table = (masks / "predictions.csv").read_text(encoding="utf-8")
    for name in ("predictions.csv", "i3.png"):
        (masks / name).unlink()
    images[0].unlink()
    outcome = predict()
    assert outcome.status == 0 and "1 masks written" in outcome.out and "2 were there already" in outcome.out
    rows = [line.split(",") for line in (masks / "predictions.csv").read_text(encoding="utf-8").splitlines()]
    known = [line.split(",") for line in table.splitlines()]
    assert rows[0] == known[0] and rows[-1] == known[-1]
    assert rows[1] == ["i0.png", *[""] * 10, "i0.png"]
    assert [row[:8] for row in rows[2:]] == [row[:8] for row in known[2:]]


def test_a_pipe_is_no_image(predict, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    outcome = predict(images=tmp_path / "pipe")
    assert outcome.status == 2 and "pipe is a pipe" in outcome.err


def test_masks_beside_their_images(predict, images, tmp_path):
    """The folder of the images is refused under any of its names; one inside of it is no image."""
    folder = images[0].parent
    before = contents(folder)
    (tmp_path / "link").symlink_to(folder)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a.png").symlink_to(images[0])
    for given in (folder, tmp_path / "link", linked, images[0]):
        for out in (folder, tmp_path / "link"):
            outcome = predict(images=given, out=out)
            assert outcome.status == 2 and "overwrite" in outcome.err
    assert contents(folder) == before
    assert predict(images=linked).status == 0
    for _ in range(2):
        inside = predict(out=folder / "masks")
        assert inside.status == 0 and "Not read" not in inside.out
    assert contents(folder) == before


def test_nothing_is_left_where_nothing_could_be_predicted(predict, images, tmp_path):
    for path in images:
        path.write_bytes(b"hello")
    assert predict().status == 1
    assert not (tmp_path / "masks").exists()


def test_the_umask_decides_who_may_read_the_masks(predict, tmp_path):
    before = os.umask(0o077)
    try:
        assert predict().status == 0
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "masks").iterdir()} == {0o600}


def test_a_link_under_the_name_of_a_mask_is_left_alone(predict, images, tmp_path):
    predict()
    mask = tmp_path / "masks" / "i0.png"
    shutil.move(mask, tmp_path / "elsewhere.png")
    for target in ("nowhere", tmp_path / "images"):
        mask.symlink_to(target)
        outcome = predict()
        assert outcome.status == 1 and str(mask) in outcome.err and mask.is_symlink()
        mask.unlink()
    assert predict().status == 0 and json.loads((tmp_path / "masks" / ".syndiff.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["--run", "--images", "--out"])
def test_an_empty_variable_of_the_shell_is_refused(syndiff, run, images, tmp_path, monkeypatch, name):
    monkeypatch.chdir(images[0].parent)
    words = {"--run": run, "--images": images[0], "--out": tmp_path / "masks", name: ""}
    told = syndiff("predict", *(each for word in words.items() for each in word))
    assert told.status == 2 and f"{name} is empty" in told.err
    assert syndiff("predict", *(f"{key}={value}" for key, value in words.items())).status == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"run": ""}, "run is ''"),
        ({"images": ["a.png"]}, "images is"),
        ({"engine": "foo"}, "expected auto, torch"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"tta": True}, "tta is True"),
        ({"tta": 3}, "1, 2, 4 or 8"),
        ({"refine": "yes"}, "refine is 'yes'; expected none, lesions, tiles"),
    ],
)
def test_what_python_gives_wrong_is_told(run, images, tmp_path, wrong, words):
    given = {"run": run, "images": images[0], "out": tmp_path / "masks", **wrong}
    with pytest.raises(package.SyndiffError, match=words):
        package.predict(**given, progress=False)


def test_a_file_or_nothing_is_no_model(images):
    for wrong, words in ((images[0], "is a file"), (None, "The model is None"), ("", "The model is ''")):
        with pytest.raises(package.SyndiffError, match=words):
            package.load(wrong)
