"""From a checkpoint folder to masks at the size of the image, the same every time."""

import json
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from syndiff.data.loading import CaseArrays
from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.models.control import PlainNetwork
from syndiff.models.prediction import (
    SegmenterPredictor,
    load_segmenter,
    mean_dice,
    model_description,
)
from syndiff.models.segmenter import initialise
from syndiff.models.settings import Kind, SegmenterSettings
from syndiff.models.tensors import trainable_state, write_tensors

TINY = {"image_size": 64, "pretrained": False, "condition_channels": 8, "denoiser_channels": 8}


def write_checkpoint(folder, settings, seed=0):
    """A model with settled batch statistics, as a training leaves it; returns it too."""
    model = initialise(settings, seed)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean") and not name.startswith("autoencoder"):
            buffer.normal_(generator=torch.Generator().manual_seed(seed))
    write_tensors(folder / "model.safetensors", trainable_state(model))
    write_json(folder / "model.json", model_description(settings, model, step=7, val_dice=0.5))
    return model.eval()


def picture(height, width, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, 3), endpoint=True).astype(dtype)


@pytest.mark.parametrize("kind", get_args(Kind))
class TestPrediction:
    @pytest.fixture
    def settings(self, kind):
        return SegmenterSettings(kind=kind, **TINY)

    @pytest.fixture
    def checkpoint(self, settings, tmp_path):
        write_checkpoint(tmp_path / "000007", settings)
        return tmp_path / "000007"

    def test_a_loaded_model_predicts_the_very_same(self, settings, tmp_path):
        model = write_checkpoint(tmp_path, settings)
        before = SegmenterPredictor(model, settings.image_size, name="before").predict(picture(70, 50), case_id="a")
        loaded = SegmenterPredictor.load(tmp_path, name="after")
        after = loaded.predict(picture(70, 50), case_id="a")
        assert np.array_equal(before.probability, after.probability)
        assert np.array_equal(before.mask, after.mask)
        assert loaded.name == "after"

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_the_answer_has_the_size_of_the_image(self, checkpoint, dtype):
        predictor = SegmenterPredictor.load(checkpoint, name="x")
        for height, width in ((37, 61), (1, 1), (200, 31), (64, 64)):
            prediction = predictor.predict(picture(height, width, dtype), case_id="a")
            assert prediction.mask.shape == prediction.probability.shape == (height, width)
            assert prediction.mask.dtype == bool and prediction.probability.dtype == np.float32
            assert prediction.probability.min() >= 0 and prediction.probability.max() <= 1
            assert np.array_equal(prediction.mask, prediction.probability > 0.5)

    def test_sixteen_bits_say_the_same_as_eight(self, checkpoint):
        predictor = SegmenterPredictor.load(checkpoint, name="x")
        eight = picture(40, 40)
        sixteen = eight.astype(np.uint16) * 257
        first, second = (predictor.predict(image, case_id="a").probability for image in (eight, sixteen))
        assert np.array_equal(first, second)

    def test_a_case_gets_the_same_answer_whatever_came_before(self, checkpoint):
        fresh, used = (SegmenterPredictor.load(checkpoint, name="x") for _ in range(2))
        for index in range(3):
            used.predict(picture(20, 30, seed=index), case_id=f"other {index}")
        torch.manual_seed(99)
        expected = fresh.predict(picture(33, 47), case_id="a").probability
        assert np.array_equal(used.predict(picture(33, 47), case_id="a").probability, expected)

    def test_every_stage_is_timed(self, kind, checkpoint):
        seconds = SegmenterPredictor.load(checkpoint, name="x").predict(picture(30, 30), case_id="a").seconds
        inner = ["encode", "denoise", "decode"] if kind == "diffusion" else ["network"]
        assert list(seconds) == ["preprocess", *inner, "postprocess"]
        assert all(value > 0 for value in seconds.values())

    def test_weights_of_another_model_are_refused(self, checkpoint):
        weights = load_file(checkpoint / "model.safetensors")
        name = sorted(weights)[0]
        save_file({**weights, name: weights[name][:1].repeat(3, *[1] * (weights[name].ndim - 1))}, checkpoint / "x")
        (checkpoint / "x").replace(checkpoint / "model.safetensors")
        with pytest.raises(SyndiffError, match=r"model\.safetensors does not fit the network: 1 tensors differ") as no:
            load_segmenter(checkpoint)
        assert name in str(no.value)

    @pytest.mark.parametrize("file", ["model.safetensors", "model.json"])
    @pytest.mark.parametrize("damage", ["gone", "cut"])
    def test_a_damaged_checkpoint_is_named(self, checkpoint, file, damage):
        if damage == "gone":
            (checkpoint / file).unlink()
        else:
            (checkpoint / file).write_bytes((checkpoint / file).read_bytes()[:100])
        with pytest.raises(SyndiffError, match=file):
            load_segmenter(checkpoint)

    def test_a_description_of_another_version_is_refused(self, checkpoint):
        described = json.loads((checkpoint / "model.json").read_text())
        described["model"]["colour_of_the_sky"] = "blue"
        described["syndiff"] = "9.9"
        write_json(checkpoint / "model.json", described)
        with pytest.raises(SyndiffError, match=r"colour_of_the_sky.*9\.9"):
            load_segmenter(checkpoint)


@pytest.fixture
def diffusion(tmp_path):
    write_checkpoint(tmp_path / "d", SegmenterSettings(**TINY))
    return tmp_path / "d"


def test_another_seed_or_case_draws_other_noise(diffusion):
    image = picture(64, 64)
    answers = [
        SegmenterPredictor.load(diffusion, name="x", seed=seed).predict(image, case_id=case_id).probability
        for seed, case_id in ((0, "a"), (1, "a"), (0, "b"))
    ]
    assert not np.array_equal(answers[0], answers[1]) and not np.array_equal(answers[0], answers[2])


def test_inference_settings_can_be_replaced(diffusion):
    model, described = load_segmenter(diffusion, timestep=50, steps=5)
    assert model.settings.first_timestep == 50 and model.settings.inference_steps == 5
    assert described["model"]["inference_steps"] == 1
    image = picture(64, 64)
    stored, replaced = (
        SegmenterPredictor.load(diffusion, name="x", **changes).predict(image, case_id="a").probability
        for changes in ({}, {"timestep": 50, "steps": 5})
    )
    assert not np.array_equal(stored, replaced)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"timestep": 1000}, "0 to 999"), ({"steps": 0}, "1 to 100,000"), ({"steps": 2000}, "1 to 1000")],
)
def test_inference_settings_outside_the_schedule_are_refused(diffusion, changes, words):
    with pytest.raises(SyndiffError, match=words):
        load_segmenter(diffusion, **changes)


def test_a_control_has_no_timesteps(tmp_path):
    write_checkpoint(tmp_path, SegmenterSettings(kind="control", **TINY))
    with pytest.raises(SyndiffError, match="leave out --timestep"):
        load_segmenter(tmp_path, steps=3)


def test_another_autoencoder_than_at_training_is_refused(diffusion):
    described = json.loads((diffusion / "model.json").read_text())
    described["autoencoder"]["fingerprint"] = "0123456789abcdef"
    write_json(diffusion / "model.json", described)
    with pytest.raises(SyndiffError, match="0123456789ab"):
        load_segmenter(diffusion)


class Answer(PlainNetwork):
    """A model that always answers the same."""

    def __init__(self, answer):
        super().__init__()
        self.constant = torch.nn.Parameter(answer)

    def logits(self, image_bchw):
        return self.constant.expand(len(image_bchw), 1, *image_bchw.shape[-2:])

    def weight_sources(self, settings, *, autoencoder_here):
        return []


def test_mean_dice_counts_each_case_once_whatever_the_batch():
    masks = torch.zeros(5, 1, 32, 32, dtype=torch.uint8)
    masks[0, :, :16], masks[1, :, :8], masks[2] = 1, 1, 1  # the others are empty
    cases = CaseArrays(tuple("abcde"), torch.zeros(5, 3, 32, 32, dtype=torch.uint8), masks, torch.zeros(5).long())
    upper_half = torch.full((32, 32), -1.0)
    upper_half[:16] = 1
    expected = (1 + 2 / 3 + 2 / 3 + 0 + 0) / 5
    for batch_size in (2, 5):
        assert mean_dice(Answer(upper_half), cases, batch_size=batch_size) == pytest.approx(expected)
    assert mean_dice(Answer(torch.tensor(-1.0)), cases, batch_size=3) == pytest.approx(2 / 5)


def test_views_are_averaged_so_that_a_mirrored_image_gets_the_mirrored_mask(tmp_path):
    write_checkpoint(tmp_path, SegmenterSettings(kind="control", inference_tta=8, **TINY))
    predictor = SegmenterPredictor.load(tmp_path, name="stored")
    image = picture(64, 64)
    answer = predictor.predict(image, case_id="a").probability
    mirrored = predictor.predict(image[:, ::-1], case_id="a").probability
    np.testing.assert_allclose(mirrored[:, ::-1], answer, atol=1e-5)
    single = SegmenterPredictor.load(tmp_path, name="one", tta=1).predict(image, case_id="a").probability
    assert np.abs(single - answer).max() > 1e-3


def test_a_number_of_views_that_no_square_has_is_refused(tmp_path):
    write_checkpoint(tmp_path, SegmenterSettings(kind="control", **TINY))
    with pytest.raises(SyndiffError, match="inference_tta is 3, expected 1, 2, 4 or 8"):
        SegmenterPredictor.load(tmp_path, name="three", tta=3)
