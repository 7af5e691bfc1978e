"""Several classes in files: class numbers, or a page for each where they may overlap; a colour for each; exports."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import syndiff as package
from syndiff.data.targets import Targets
from syndiff.data.written_masks import encode_masks, read_masks
from syndiff.errors import SyndiffError
from syndiff.imaging import CLASS_COLOURS
from syndiff.inference.exported import read_card
from syndiff.inference.formats.base import Frame
from syndiff.inference.load import load
from syndiff.inference.overlay import draw_answer, draw_contours
from syndiff.inference.smoothing import Smoothing
from syndiff.models.prediction import model_description
from syndiff.models.predictor import Prediction
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import write_model
from syndiff.models.tensors import trainable_state
from tiny_commands import ENCODER

EXCLUSIVE = Targets(("polyp", "instrument"), (1, 3))
OVERLAP = Targets(("polyp", "instrument"), (1, 3), overlap=True)


def write_run(folder: Path, targets: Targets, kind: str = "control") -> Path:
    """A checkpoint with untrained weights that marks something of each class."""
    small = {"condition_channels": 8, "denoiser_channels": 8, "autoencoder": "mask"}
    settings = SegmenterSettings(kind=kind, image_size=32, encoder=ENCODER, pretrained=False, **small)
    model = initialise(settings, 0, targets)
    if kind == "control":
        with torch.no_grad():
            model.head.weight *= 30
    write_model(folder, trainable_state(model), model_description(settings, model, step=7, val_dice=0.5))
    return folder


def draw(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 80), Image.Resampling.BICUBIC).save(folder / f"i{number}.png")
    return folder


def answer(seed: int = 0, targets: Targets = EXCLUSIVE) -> Prediction:
    spots = np.random.default_rng(seed).random((2, 6, 8), np.float32) / 2
    return Prediction.of(spots.repeat(4, 1).repeat(4, 2), targets, {})


@pytest.mark.parametrize("targets", [EXCLUSIVE, OVERLAP], ids=["numbers", "pages"])
def test_masks_tell_the_classes_apart(syndiff, tmp_path, targets: Targets) -> None:
    run, images = write_run(tmp_path / "run", targets), draw(tmp_path / "images")
    given = ("predict", "--run", run, "--images", images, "--out", tmp_path / "out")
    outcome = syndiff(*given, "--probability", "--overlay")
    assert outcome.status == 0, outcome.err
    predictor, ending = load(run), ".tif" if targets.overlap else ".png"
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        found = predictor.predict(images / f"i{number}.png")
        path = tmp_path / "out" / f"i{number}{ending}"
        np.testing.assert_array_equal(read_masks(path, targets), found.masks)
        assert found.masks.any((1, 2)).any() and row["output"] == path.name
        for name, mask in zip(targets.names, found.masks, strict=True):
            assert int(row[f"{name}: area_pixels"]) == mask.sum()
        assert int(row["lesions"]) == sum(int(row[f"{name}: lesions"]) for name in targets.names)
        deep = tifffile.imread(tmp_path / "out" / f"i{number}.probability.tif")
        np.testing.assert_allclose(deep / 65535, found.probabilities, atol=1e-5)
        assert (tmp_path / "out" / f"i{number}.overlay.jpg").is_file()
    first = json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0])
    assert first["targets"] == {"classes": {"1": "polyp", "3": "instrument"}, "overlap": targets.overlap}
    again = syndiff(*given)
    assert "2 were there already" in again.out


def test_stacks_hold_class_numbers_and_refuse_classes_that_overlap(tmp_path) -> None:
    pages = np.random.default_rng(0).integers(0, 255, (2, 32, 40, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "stack.tif", pages, photometric="rgb")
    made = package.predict(write_run(tmp_path / "one", EXCLUSIVE), tmp_path / "images", tmp_path / "a", progress=False)
    assert not made.problems and set(np.unique(tifffile.imread(tmp_path / "a" / "stack.tif"))) <= {0, 1, 3}
    made = package.predict(write_run(tmp_path / "two", OVERLAP), tmp_path / "images", tmp_path / "b", progress=False)
    assert len(made.problems) == 1 and "one number for each pixel, but classes" in made.problems[0]
    assert not list((tmp_path / "b").glob("*.tif"))


def test_written_masks_are_read_back_and_other_files_refused(tmp_path) -> None:
    masks = answer().masks
    for targets in (EXCLUSIVE, OVERLAP, Targets(("a", "b"), (1, 700))):
        (tmp_path / "mask").write_bytes(encode_masks(masks, targets))
        np.testing.assert_array_equal(read_masks(tmp_path / "mask", targets), masks)
    with pytest.raises(SyndiffError, match="holds 700, which is the number of no class"):
        (tmp_path / "mask").write_bytes(encode_masks(masks, Targets(("a", "b"), (1, 700))))
        read_masks(tmp_path / "mask", EXCLUSIVE)
    with pytest.raises(SyndiffError, match="takes numbers up to 255"):
        answer(targets=Targets(("a", "b"), (1, 700))).byte_labels("A video")


def test_each_class_is_drawn_in_its_colour_with_a_legend() -> None:
    probability = np.zeros((2, 120, 160), np.float32)
    probability[1, 60:100, 60:140] = 0.9
    probability[:, 70:90, 80:120] = [[[0.9]], [[0]]]  # within the other: one border is of both
    found = Prediction.of(probability, EXCLUSIVE, {})
    drawn = draw_answer(np.zeros((120, 160, 3), np.uint8), found)
    for index, mask in enumerate(found.masks):
        line = (draw_contours(np.zeros((120, 160, 3), np.uint8), mask, (1, 1, 1), inside=True) == 1).all(2)
        assert line.any() and not (line & ~mask).any() and (drawn[line] == CLASS_COLOURS[index]).all()
        assert (drawn[:40] == CLASS_COLOURS[index]).all(2).any()  # in the legend too
    one = Prediction.of(probability[:1], Targets(), {})
    assert not draw_answer(np.zeros((120, 160, 3), np.uint8), one)[:50].any()


def test_a_video_is_averaged_class_by_class() -> None:
    image, smoothing = np.zeros((24, 32, 3), np.uint8), Smoothing(1.0)
    answers = [answer(seed) for seed in range(3)]
    for number, each in enumerate(answers):
        assert not smoothing.add(Frame(image, str(number), seconds=0.04 * number), each)
    weights = np.exp(-np.abs(np.arange(3) - 1) * 0.04)
    _, middle = smoothing.rest()[1]
    expected = sum(w * each.probabilities for w, each in zip(weights, answers, strict=True)) / weights.sum()
    np.testing.assert_allclose(middle.probabilities, expected, rtol=1e-5)
    np.testing.assert_array_equal(middle.masks, EXCLUSIVE.decide(middle.probabilities))
    np.testing.assert_array_equal(middle.mask, middle.masks.any(0))


@pytest.mark.slow
def test_an_export_answers_for_each_class_as_torch(tmp_path) -> None:
    run = write_run(tmp_path / "run", EXCLUSIVE, "diffusion")
    made = package.export(run, tmp_path / "export", progress=False)
    assert made.card.classes == EXCLUSIVE.names and read_card(made.folder).told_apart == EXCLUSIVE
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    mine, other = (load(each, tta=2).predict(image, case_id="a") for each in (run, made.folder))
    assert other.probabilities.shape == (2, 50, 70) and other.targets == EXCLUSIVE
    assert np.abs(mine.probabilities - other.probabilities).max() < 1e-4
    assert mine.disagreement == pytest.approx(other.disagreement)
