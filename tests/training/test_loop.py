"""The loop learns, stops when it must, and every setting has a say."""

import math
import re
from dataclasses import fields, replace
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tiny_training import MODEL, TRAINING, bright_squares, tiny_train
from torch import nn

from syndiff.data.settings import AugmentationSettings
from syndiff.documents import read_json, read_objects
from syndiff.errors import SyndiffError
from syndiff.files import sha256
from syndiff.models.network import Batch
from syndiff.models.prediction import load_segmenter
from syndiff.models.segmenter import initialise
from syndiff.training.batches import case_indices
from syndiff.training.checkpoints import find_checkpoint
from syndiff.training.loop import backpropagate, rate_factor
from syndiff.training.objective import SegmentationObjective, draw_randomness
from syndiff.training.run_folder import this_process
from syndiff.training.settings import TrainingSettings

MODELS = {
    "control": replace(MODEL, kind="control"),
    "z0": MODEL,
    "v": replace(MODEL, objective="v"),
    "noise+latent": replace(MODEL, objective="noise+latent", zero_terminal_snr=False),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_falls_on_a_handful_of_cases(name, tmp_path):
    settings = replace(TRAINING, steps=16, batch_size=4, learning_rate=2e-3, validate_every=16, checkpoint_every=16)
    checkpoint = tiny_train(
        tmp_path, model_settings=MODELS[name], settings=settings, augmentation=AugmentationSettings.none()
    )
    cases = bright_squares(5, 0)
    before, after = initialise(MODELS[name], 0), load_segmenter(checkpoint)[0]
    noise, timestep = draw_randomness(before, 5, 32, 0.5, torch.Generator().manual_seed(0))
    batch = Batch(cases.images.float() / 255, cases.masks.float(), noise, timestep)
    with torch.no_grad():
        first, last = (
            sum(value.item() for value in SegmentationObjective(model, settings).train()(batch).values())
            for model in (before, after)
        )
    assert last < 0.9 * first


@pytest.mark.parametrize("checkpoint_every", [1, 100])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_what_was_saved(checkpoint_every, tmp_path):
    settings = replace(TRAINING, learning_rate=1000, warmup_steps=0, checkpoint_every=checkpoint_every)
    with pytest.raises(SyndiffError, match=r"loss of step \d .*learning_rate \(now 1000\)") as caught:
        tiny_train(tmp_path, settings=settings)
    last = find_checkpoint(tmp_path, "last")
    step = int(re.findall(r"loss of step (\d)", str(caught.value))[0])  # 2 or 3: CPUs round differently
    assert (last and last.name) == (f"{step - 1:06d}" if checkpoint_every == 1 else None)
    assert not list(tmp_path.rglob("*.partial"))


ALTERNATIVES = {
    "steps": 1,
    "batch_size": 3,
    "learning_rate": 5e-4,
    "backbone_lr_scale": 0.0,
    "warmup_steps": 5,
    "weight_decay": 0.5,
    "ema_decay": 0.0,
    "grad_clip": 1e-9,
    "mask_weight": 0.0,
    "guide_weight": 0.0,
    "inference_share": 0.0,
    "precision": "bf16",
    "validate_every": 1,
    "ema_encoder": False,
}


BASE = {
    "steps": 2,
    "batch_size": 2,
    "warmup_steps": 1,
    "precision": "fp32",
    "validate_every": 2,
    "inference_share": 1.0,
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """What a run of two steps leaves: its metrics and its weights."""

    def run_with(**changes):
        run = tmp_path_factory.mktemp("effect")
        checkpoint = tiny_train(run, settings=TrainingSettings(**{**BASE, **changes}))
        lines = list(read_objects(run / "metrics.jsonl", {}))
        metrics = [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
        return metrics, sha256(checkpoint / "model.safetensors")

    return run_with


@pytest.fixture(scope="module")
def base(trace):
    return trace()


class TestSettings:
    def test_the_same_settings_leave_the_same(self, trace, base):
        assert trace() == base

    @pytest.mark.parametrize("name", ALTERNATIVES)
    def test_each_has_an_effect(self, name, trace, base):
        assert trace(**{name: ALTERNATIVES[name]}) != base

    def test_none_is_forgotten(self):
        """checkpoint_every shows where a run breaks off: see the loss that is not finite. lr_schedule and accumulation
        are tested below, gradient_checkpointing with the networks that have it, coarse_share and real_share in
        test_segmentation.py."""
        elsewhere = {
            "checkpoint_every",
            "accumulation",
            "lr_schedule",
            "gradient_checkpointing",
            "coarse_share",
            "real_share",
        }
        assert {field.name for field in fields(TrainingSettings)} == {*ALTERNATIVES, *elsewhere}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("steps", 0),
            ("batch_size", 1),
            ("learning_rate", 0.0),
            ("backbone_lr_scale", -0.1),
            ("warmup_steps", -1),
            ("weight_decay", -1.0),
            ("ema_decay", 1.0),
            ("grad_clip", 0.0),
            ("mask_weight", -1.0),
            ("guide_weight", -1.0),
            ("inference_share", 1.1),
            ("precision", "fp16"),
            ("lr_schedule", "linear"),
            ("accumulation", 3),
            ("accumulation", 16),
            ("validate_every", 0),
            ("checkpoint_every", 0),
            ("learning_rate", math.nan),
            ("real_share", 0.9999),
            ("real_share", -0.1),
        ],
    )
    def test_one_out_of_range_is_named_with_its_value(self, name, value):
        with pytest.raises(SyndiffError, match=f"training.{name} is {value!r}, expected "):
            TrainingSettings(**{name: value})


class Pairs(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor
    nothing: torch.Tensor


class Line(nn.Module):
    """Two losses of a line through pairs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)
        nn.init.ones_(self.layer.weight)

    def forward(self, batch: Pairs) -> dict[str, torch.Tensor]:
        error = self.layer(batch.x) - batch.y
        return {"square": error.square().mean(), "absolute": error.abs().mean()}


def test_a_batch_in_parts_has_the_loss_and_the_gradient_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    batch = Pairs(torch.randn(6, 3, generator=generator), torch.randn(6, 1, generator=generator), torch.empty(0))
    found = []
    for parts in (1, 3):
        settings, line = TrainingSettings(batch_size=6, accumulation=parts, precision="fp32", grad_clip=0.5), Line()
        optimizer = torch.optim.AdamW(line.parameters())
        losses, loss, norm = backpropagate(line, batch, optimizer, settings, this_process())
        assert loss.item() == pytest.approx(sum(value.item() for value in losses.values()))
        found.append([losses["square"], losses["absolute"], norm, line.layer.weight.grad])
    assert all(torch.allclose(whole, parted) for whole, parted in zip(*found, strict=True))


def test_the_best_model_by_validation_dice_is_kept(tmp_path):
    settings = replace(TRAINING, steps=8, validate_every=2, checkpoint_every=8, learning_rate=3e-3)
    best = tiny_train(tmp_path, model_settings=MODELS["control"], settings=settings)
    lines = list(read_objects(tmp_path / "metrics.jsonl", {}))
    scores = {line["step"]: line["val_dice"] for line in lines if "val_dice" in line}
    assert list(scores) == [2, 4, 6, 8]
    described = read_json(best / "model.json")
    assert described["val_dice"] == max(scores.values())
    assert described["step"] == int(best.name) == min(s for s in scores if scores[s] == max(scores.values()))


def test_bf16_and_fp32_may_follow_each_other_in_one_process(tmp_path):
    for precision in ("fp32", "bf16", "fp32"):
        settings = replace(TRAINING, steps=1, precision=precision)
        assert tiny_train(tmp_path / precision, model_settings=MODELS["control"], settings=settings).is_dir()


@given(steps=st.integers(1, 500), warmup=st.integers(0, 600))
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_rate_climbs_in_a_line_and_falls_along_a_cosine(steps, warmup):
    settings = TrainingSettings(steps=steps, warmup_steps=warmup)
    rates = [rate_factor(step, settings) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    for step in range(min(steps, warmup)):
        assert rates[step] == pytest.approx((step + 1) / warmup)
    if steps > warmup:
        assert rates[warmup] == 1
        assert all(later <= earlier for earlier, later in zip(rates[warmup:], rates[warmup + 1 :], strict=False))
        middle = warmup + (steps - warmup) / 2
        if middle == int(middle):
            assert rates[int(middle)] == pytest.approx(0.5)


def test_the_rate_may_stay_after_the_warm_up():
    settings = TrainingSettings(steps=100, warmup_steps=4, lr_schedule="constant")
    assert [rate_factor(step, settings) for step in range(100)] == [0.25, 0.5, 0.75, *[1.0] * 97]


@given(cases=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 2**32), epochs=st.integers(1, 4))
@hypothesis_settings(max_examples=60, deadline=None)
def test_every_epoch_shows_every_case_once(cases, batch_size, seed, epochs):
    steps = math.ceil(epochs * cases / batch_size)
    stream = [index for step in range(steps) for index in case_indices(cases, batch_size, seed, step)]
    for epoch in range(epochs):
        assert sorted(stream[epoch * cases : (epoch + 1) * cases]) == list(range(cases))


def test_epochs_and_seeds_differ_in_their_order():
    first, again, later, other = (case_indices(30, 30, seed, step) for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0)))
    assert first == again and first != later and first != other
