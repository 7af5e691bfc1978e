"""What the compact inpainter learns from, and that it learns: colours follow words, kills change nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from syndiff.data.dataset import Dataset
from syndiff.documents import read_objects
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import load_autoencoder
from syndiff.models.inpainter import load_inpainter
from syndiff.models.settings import InpaintingSettings
from syndiff.training.inpainting import InpaintingTask
from syndiff.training.inpainting_crops import LesionCrops
from syndiff.training.inpainting_pool import encode_crops
from syndiff.training.loop import fit
from syndiff.training.settings import AdaptSettings

MODEL = InpaintingSettings(crop_size=64, channels=(32, 32, 32), caption_channels=32, caption_layers=1, caption_length=8)
ADAPT = AdaptSettings(
    minutes=0, steps=150, batch_size=8, learning_rate=5e-3, warmup_steps=10, ema_decay=0.9, validate_every=150, crops=96
)
COLOURS = {"red": (200, 70, 70), "blue": (70, 70, 200)}
VOCABULARY = ("blue", "lesion", "mucosa", "plain", "red")
SIZE = 96


def draw(root: Path, count: int = 16) -> tuple[Dataset, dict]:
    """Grey frames with one red or blue disc and, in every fourth, a green one, another lesion; and their captions."""
    captions = {}
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for i in range(count):
        rng = np.random.default_rng(i)
        frame = np.full((SIZE, SIZE, 3), rng.integers(110, 150), np.uint8)
        colour = list(COLOURS)[i % 2]
        disc = (rows - rng.integers(24, 40)) ** 2 + (columns - rng.integers(24, 72)) ** 2 < rng.integers(8, 13) ** 2
        frame[disc] = COLOURS[colour]
        other = ((rows - 80) ** 2 + (columns - rng.integers(10, 86)) ** 2 < 36) & (i % 4 == 0)
        frame[other] = (60, 220, 60)
        Image.fromarray(frame).save(root / "images" / f"{i:02}.png")
        Image.fromarray(disc | other).save(root / "masks" / f"{i:02}.png")
        captions[f"{i:02}"] = [(disc, f"{colour} lesion")]
    return Dataset.open(root), captions


def make_task(crops: LesionCrops, settings: AdaptSettings = ADAPT) -> InpaintingTask:
    train, val = (
        encode_crops(crops, load_autoencoder(), count=n, size=64, settings=settings, entropy=(0, k), augment=k == 1)
        for n, k in ((settings.crops, 1), (16, 0))
    )
    return InpaintingTask(MODEL, settings, train=train, val=val, vocabulary=VOCABULARY, about={}, seed=0)


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> LesionCrops:
    dataset, captions = draw(tmp_path_factory.mktemp("discs") / "data")
    return LesionCrops(dataset, captions, background="plain mucosa")


@pytest.fixture(scope="module")
def trained(crops, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("trained")
    return fit(run, make_task(crops), ADAPT, seed=0, progress=False)


def drawn(crops, **changes):
    settings = replace(ADAPT, **changes)
    return crops.draw([i % len(crops) for i in range(48)], (7,), size=64, settings=settings)


def is_green(image):
    return (image[:, 1:2] > image[:, 0:1] + 0.3) & (image[:, 1:2] > image[:, 2:3] + 0.3)


def test_a_crop_hides_its_lesion_with_a_margin_and_no_other_lesion(crops):
    image, lesion, hidden, captions = drawn(crops, background_share=0.0)
    assert image.shape == (48, 3, 64, 64) and lesion.shape == hidden.shape == (48, 1, 64, 64)
    assert (lesion.sum((1, 2, 3)) > 200).all()
    assert (hidden >= lesion).all()
    assert (hidden.sum((1, 2, 3)) > 1.1 * lesion.sum((1, 2, 3))).all()
    assert not (is_green(image) & (hidden > 0)).any()
    for picture, where, caption in zip(image, lesion, captions, strict=True):
        red, _, blue = (picture * ndimage.binary_erosion(where[0], iterations=2)).sum((1, 2))
        assert (red > blue) == (caption == "red lesion")


def test_a_crop_without_lesion_hides_mucosa_only(crops):
    image, lesion, hidden, captions = drawn(crops, background_share=0.999)
    assert set(captions) == {"plain mucosa"}
    assert not lesion.any()
    assert (hidden.sum((1, 2, 3)) > 50).all()
    spread = torch.stack([picture[:, where[0] > 0].std(1).max() for picture, where in zip(image, hidden, strict=True)])
    assert (spread < 0.02).all()  # nothing but the grey of the frame


def test_crops_depend_on_the_seed_and_the_place_in_the_batch_alone(crops):
    settings = {"size": 64, "settings": ADAPT}
    first, again = (crops.draw([3, 5, 3], (1, 2), **settings) for _ in range(2))
    longer = crops.draw([3, 5, 3, 0], (1, 2), **settings)
    other = crops.draw([3, 5, 3], (1, 3), **settings)
    assert torch.equal(first[0], again[0]) and torch.equal(first[0], longer[0][:3])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0][0], first[0][2])


def test_encoded_crops_are_what_the_model_is_shown_when_it_paints(crops):
    """Training and painting must agree on what is seen."""
    image, lesion, hidden, captions = crops.draw(range(3), (4, 0), size=64, settings=ADAPT)
    encoded = encode_crops(crops, load_autoencoder(), count=3, size=64, settings=ADAPT, entropy=(4,), augment=False)
    task = make_task(crops, replace(ADAPT, crops=32))
    told = task.model.condition(encoded.visible, encoded.lesion_mask, encoded.hidden)
    torch.testing.assert_close(told, task.model.surroundings(image, lesion, hidden), atol=1e-4, rtol=0)
    assert encoded.captions == captions
    decoded = task.model.decode(task.model.components(encoded.clean))
    assert (decoded - image).abs().mean() < 0.03


def test_the_loss_on_discs_falls_by_half(trained):
    lines = list(read_objects(trained.parents[1] / "metrics.jsonl", {}))
    assert next(line["loss"] for line in lines if "loss" in line) > 0.9
    assert [line["val_loss"] for line in lines if "val_loss" in line][-1] < 0.5


def test_the_painted_colour_follows_the_word(trained, crops):
    model = load_inpainter(trained)
    image, lesion, hidden, _ = drawn(crops, background_share=0.0)
    part = slice(0, 12)
    noise = torch.randn(12, *model.noise_shape(), generator=torch.Generator().manual_seed(0))
    inside = torch.from_numpy(ndimage.binary_erosion(lesion[part, 0].numpy(), np.ones((1, 5, 5))))
    redness = {}
    for caption in ("red lesion", "blue lesion", "plain mucosa"):
        lesion_mask = lesion[part] * (caption != "plain mucosa")
        painted = model.paint(
            image[part], lesion_mask, hidden[part], [caption] * 12, noise, steps=8, guidance_scale=2.0
        )
        redness[caption] = torch.stack([(p[0] - p[2])[w].mean() for p, w in zip(painted, inside, strict=True)])
    assert (redness["red lesion"] > 0.15).all()
    assert (redness["blue lesion"] < -0.15).all()
    assert (redness["plain mucosa"].abs() < 0.15).all()


def test_a_training_that_was_stopped_ends_with_the_same_bytes(crops, tmp_path):
    settings = replace(ADAPT, steps=4, validate_every=2, checkpoint_every=2, warmup_steps=1, crops=16, batch_size=2)
    best = fit(tmp_path / "whole", make_task(crops, settings), settings, seed=0, progress=False)
    for stop in (3, None):
        resumed = fit(tmp_path / "cut", make_task(crops, settings), settings, seed=0, stop_after=stop, progress=False)
    assert (resumed / "model.safetensors").read_bytes() == (best / "model.safetensors").read_bytes()
    assert (resumed / "model.json").read_bytes() == (best / "model.json").read_bytes()


def test_captions_are_dropped_for_guidance_as_often_as_asked(crops):
    task = make_task(crops, replace(ADAPT, caption_dropout=0.25, crops=64))
    tokens = torch.cat([task.batch(step, process=0, processes=1).tokens for step in range(40)])
    dropped = ((tokens > 0).sum(1) == 1).float().mean().item()
    assert 0.17 < dropped < 0.33
    assert ((task._probe.tokens > 0).sum(1) > 1).all()


def test_cases_without_lesions_teach_nothing(tmp_path):
    dataset, captions = draw(tmp_path / "data", 2)
    with pytest.raises(SyndiffError, match=r"None of the 2 cases of .* has a lesion"):
        LesionCrops(dataset, dict.fromkeys(captions, ()), background="plain mucosa")


@pytest.mark.parametrize(
    "wrong", [{"min_context": 0.5}, {"caption_dropout": 1.0}, {"max_margin": 0.1}, {"minutes": -1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SyndiffError, match=f"adapt.{next(iter(wrong))} is|adapt.min_margin is"):
        replace(ADAPT, **wrong)
