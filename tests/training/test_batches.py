"""Batches that are drawn ahead by a thread are those that are drawn when they are wanted."""

from typing import NamedTuple

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.loading import load_cases
from syndiff.models.settings import SegmenterSettings
from syndiff.training.batches import Batches
from syndiff.training.segmentation import SegmentationTask
from syndiff.training.settings import TrainingSettings


def test_batches_drawn_ahead_are_the_same(phantom) -> None:
    dataset = Dataset.open(phantom)
    settings = SegmenterSettings(image_size=32, condition_channels=16, denoiser_channels=16, pretrained=False)
    task = SegmentationTask(
        *(settings, TrainingSettings(batch_size=4), Settings().augmentation),
        train_cases=load_cases([(dataset, [case.id for case in dataset.cases])], 32),
        seed=0,
    )
    accelerator = Accelerator(cpu=True)
    now, ahead = (Batches(task, accelerator, ahead=drawn) for drawn in (False, True))
    for step in (0, 1, 2, 7, 8, 0):  # in their order, after a jump, and again
        torch.manual_seed(step)  # what the training itself draws does not touch them
        for one, other in zip(now.draw(step), ahead.draw(step), strict=True):
            assert torch.equal(one, other)
    now.close()
    ahead.close()


def test_what_fails_in_the_thread_is_raised_where_the_batch_is_wanted() -> None:
    class Row(NamedTuple):
        value: Tensor

    class Source:
        def batch(self, step: int, *, process: int, processes: int) -> Row:
            if step == 1:
                raise ValueError("step 1 cannot be drawn")
            return Row(torch.full((2,), step))

    batches = Batches(Source(), Accelerator(cpu=True), ahead=True)
    assert batches.draw(0).value.tolist() == [0, 0]
    with pytest.raises(ValueError, match="step 1 cannot be drawn"):
        batches.draw(1)
    batches.close()
