"""The segmenter's batches: a coarse beginning, and then the model's own size."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import bright_squares

from syndiff.config.loading import load_settings
from syndiff.data.settings import AugmentationSettings
from syndiff.errors import SyndiffError
from syndiff.models.settings import SegmenterSettings
from syndiff.pipeline import training
from syndiff.training import planning
from syndiff.training.planning import step_seconds
from syndiff.training.segmentation import SegmentationTask
from syndiff.training.settings import TrainingSettings

MODEL = SegmenterSettings(image_size=96, pretrained=False, condition_channels=16, denoiser_channels=16)
TRAINING = TrainingSettings(steps=10, batch_size=4)


def make(**changes: float) -> SegmentationTask:
    cases = bright_squares(5, 0, size=96)
    settings = replace(TRAINING, **changes)
    return SegmentationTask(MODEL, settings, AugmentationSettings.none(), train_cases=cases, seed=0)


@pytest.mark.parametrize("kind", ["diffusion", "control"])
def test_the_first_steps_are_coarse_and_the_rest_are_not(kind: str) -> None:
    cases = bright_squares(5, 0, size=96)
    task = SegmentationTask(
        replace(MODEL, kind=kind),
        replace(TRAINING, coarse_share=0.3),
        AugmentationSettings.none(),
        train_cases=cases,
        seed=0,
    )
    for step, side in ((0, 64), (2, 64), (3, 96), (9, 96)):
        batch = task.batch(step, process=0, processes=1)
        assert batch.image.shape[2:] == batch.mask.shape[2:] == (side, side)
        assert set(batch.mask.unique().tolist()) <= {0.0, 1.0}
        losses = task.objective(batch)
        assert all(torch.isfinite(value) for value in losses.values())


def test_the_last_steps_draw_from_real_cases_alone_and_from_all_of_them() -> None:
    cases = replace(bright_squares(6, 0, size=96), source=torch.tensor([0, 0, 0, 1, 1, 2]))
    settings = replace(TRAINING, batch_size=3, real_share=0.4)
    task = SegmentationTask(MODEL, settings, AugmentationSettings.none(), train_cases=cases, seed=0)
    means = cases.images.float().div(255).mean((1, 2, 3))

    def drawn(step: int) -> set[int]:
        shown = task.batch(step, process=0, processes=1).image.mean((1, 2, 3))
        return {int((means - mean).abs().argmin()) for mean in shown}

    assert set.union(*map(drawn, range(6))) == {0, 1, 2, 3, 4, 5}
    assert all(drawn(step) == {0, 1, 2} for step in range(6, 10))


def test_a_coarse_batch_shows_the_same_cases() -> None:
    coarse, fine = (make(coarse_share=share).batch(0, process=0, processes=1) for share in (0.5, 0.0))
    assert coarse.image.shape[-1] == 64 and fine.image.shape[-1] == 96
    assert torch.allclose(coarse.image.mean((2, 3)), fine.image.mean((2, 3)), atol=0.02)
    assert torch.allclose(coarse.mask.mean((1, 2, 3)), fine.mask.mean((1, 2, 3)), atol=0.03)


def test_zoomed_cases_change_nothing_else_of_a_step() -> None:
    cases = replace(bright_squares(5, 0, size=96), fine=bright_squares(5, 0, size=192))
    off = AugmentationSettings.none()
    whole, again, zoomed = (
        SegmentationTask(MODEL, TRAINING, augmentation, train_cases=each, seed=0).batch(3, process=0, processes=1)
        for augmentation, each in (
            (off, bright_squares(5, 0, size=96)),
            (off, cases),
            (replace(off, zoom=2.0, zoom_share=1.0), cases),
        )
    )
    assert torch.equal(whole.image, again.image) and torch.equal(whole.mask, again.mask)
    assert zoomed.image.shape == whole.image.shape and not torch.equal(zoomed.image, whole.image)
    assert torch.equal(zoomed.noise, whole.noise) and torch.equal(zoomed.timestep, whole.timestep)
    assert set(zoomed.mask.unique().tolist()) <= {0.0, 1.0}


def test_a_model_that_cannot_be_smaller_refuses_a_coarse_beginning() -> None:
    with pytest.raises(SyndiffError, match=r"no effect at image_size 32.* set training\.coarse_share to 0"):
        load_settings("compact", None, ["model.image_size=32"])
    assert load_settings("compact", None, ["model.image_size=64"]).model.coarse_size == 32


def test_minutes_become_steps_by_what_both_parts_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarse steps are timed where steps are coarse, the others where they are not, and mixed by their share."""
    seen: list[tuple[int, int]] = []

    def timed(
        tasks: dict[str, SegmentationTask], settings: TrainingSettings, *, rounds: int, first: int = 0
    ) -> dict[str, float]:
        batch = tasks["control"].batch(first, process=0, processes=1)
        seen.append((first, batch.image.shape[-1]))
        return dict.fromkeys(tasks, 0.1 if batch.image.shape[-1] == 64 else 0.3)

    changes = ["model.image_size=96", "model.pretrained=false", "training.coarse_share=0.5", "run.minutes=1"]
    settings = load_settings("compact", None, changes)
    monkeypatch.setattr(planning, "step_seconds", timed)
    cases = bright_squares(5, 0, size=96)
    plans = training.plan_segmenters(tmp_path / "plan.json", settings, cases)
    assert seen == [(settings.training.steps, 96), (0, 64)]
    assert [(plan.steps, plan.first_seconds_per_step) for plan in plans.values()] == [(300, 0.1), (300, 0.1)]
    monkeypatch.undo()
    assert training.plan_segmenters(tmp_path / "plan.json", settings, cases) == plans


def test_a_step_is_timed_from_where_it_was_asked_to() -> None:
    task = make(coarse_share=0.5)
    sizes: list[int] = []
    task.objective.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].image.shape[-1]))
    for first in (0, 5):
        assert step_seconds({"one": task}, TRAINING, rounds=1, repeats=2, warmup=1, first=first)["one"] > 0
    assert sizes == [64] * 3 + [96] * 3
