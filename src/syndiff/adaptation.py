"""Teaching an inpainter the user's images: captions of the training lesions, their crops, a training that resumes."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from syndiff.data.dataset import DatasetFolder
from syndiff.data.splits import Split
from syndiff.data.words import tokenize
from syndiff.files import read_json, write_json
from syndiff.models.inpainter import InpaintingSettings
from syndiff.synthesis.grammar import Grammar
from syndiff.training.calibration import step_seconds
from syndiff.training.inpainting import InpaintingTask
from syndiff.training.inpainting_crops import LesionCrops
from syndiff.training.inpainting_settings import AdaptSettings
from syndiff.training.loop import Task, fit
from syndiff.training.run_folder import open_run

log = logging.getLogger("syndiff")

LESIONS_A_CASE = 6
"""Lesions of one case that are captioned and learned from; images of cells hold dozens."""

Lesions = dict[str, list[tuple[NDArray[np.bool_], str]]]


def caption_lesions(
    dataset: DatasetFolder, case_ids: Iterable[str], grammar: Grammar, *, progress: bool = False
) -> Lesions:
    """Lesions (HxW) of each case with their captions: the dataset's own caption of the case, or what is measured."""
    found: Lesions = {}
    for case_id in tqdm(sorted(case_ids), desc="captions", unit="case", disable=not progress):
        case = dataset[case_id]
        image, every = dataset.load(case)
        regions, count = ndimage.label(every, np.ones((3, 3)))
        areas = np.bincount(regions.ravel())[1:]
        numbers = 1 + np.flatnonzero(areas >= max(16, areas.max(initial=0) / 20))
        if len(numbers) > LESIONS_A_CASE:
            numbers = np.random.default_rng(count).permutation(numbers)[:LESIONS_A_CASE]
        lesions = [regions == number for number in numbers]
        found[case_id] = [(x, case.caption or grammar.caption(image, x, every).text) for x in lesions]
    return found


def adapt_compact(
    dataset: DatasetFolder,
    split: Split,
    out: Path,
    *,
    grammar: Grammar,
    model_settings: InpaintingSettings,
    settings: AdaptSettings,
    seed: int,
    progress: bool = True,
) -> Path:
    """Train a compact inpainter on the training cases of `split`, or go on; returns its best checkpoint.

    It is validated on the split's validation cases and never sees a test case.
    """
    background = grammar.background.text
    train_lesions = caption_lesions(dataset, split.train, grammar, progress=progress)
    val_lesions = caption_lesions(dataset, split.val, grammar, progress=progress)
    texts = [
        background,
        *(caption for lesions in (train_lesions, val_lesions) for x in lesions.values() for _, caption in x),
    ]
    vocabulary = sorted({*grammar.vocabulary, *(word for text in texts for word in tokenize(text))})
    about = {
        "dataset": split.dataset,
        "name": dataset.name,
        "train": len(split.train),
        "prompts": grammar.describe(),
        "background": background,
    }
    open_run(
        out,
        {
            "seed": seed,
            "learned_from": about,
            "inpainter": {**asdict(model_settings), "channels": list(model_settings.channels)},
            "adapt": asdict(settings),
        },
    )
    split.write(out / "split.json")
    crops, probes = (
        LesionCrops(dataset, lesions, background=background, progress=progress)
        for lesions in (train_lesions, val_lesions)
    )

    def task() -> InpaintingTask:
        return InpaintingTask(
            model_settings,
            settings,
            train_crops=crops,
            val_crops=probes,
            vocabulary=vocabulary,
            about=about,
            seed=seed,
        )

    settings = replace(settings, steps=_plan_steps(out / "plan.json", settings, task))
    return fit(out, task(), settings, seed=seed, progress=progress)


def _plan_steps(path: Path, settings: AdaptSettings, task: Callable[[], Task]) -> int:
    """The steps that fit into `settings.minutes`, measured once and kept in `path`; or those of the settings."""
    if not settings.minutes:
        return settings.steps
    if not path.is_file():
        seconds = step_seconds({"inpainter": task()}, settings, repeats=5, warmup=2)["inpainter"]
        steps = max(20, 10 * math.ceil(settings.minutes * 6 / seconds))
        write_json(path, {"minutes": settings.minutes, "seconds_per_step": seconds, "steps": steps})
    plan = read_json(path)
    log.info(f"{settings.minutes:g} minutes to adapt; one step takes {1000 * plan['seconds_per_step']:.0f} ms")
    return int(plan["steps"])
