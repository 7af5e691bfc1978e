"""The segmenter beside what people would pick instead: the same minutes and augmentation, several splits, paired."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from syndiff.data.dataset import DatasetFolder
from syndiff.data.loading import load_cases
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow
from syndiff.files import write_json, write_text
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter import Kind
from syndiff.pipeline.arms import describe_split, obtain_split, plan_steps, train_segmenter
from syndiff.presets import Settings
from syndiff.studies.cells import Side, case_scores
from syndiff.studies.table import as_markdown, tabulate
from syndiff.training.run_folder import open_run

log = logging.getLogger("syndiff")
REFERENCE: Kind = "control"


def peers(
    data: Path,
    out: Path,
    settings: Settings,
    *,
    kinds: Sequence[Kind],
    splits: int,
    split_method: str,
    side: Side,
    seed: int,
) -> str:
    """Train the control and every one of `kinds` for `run.minutes` on each of `splits` splits; returns a table.

    Steps are planned once, from the time that a step of each network takes here, so that all train equally long; with
    `run.minutes` at 0 all take `training.steps`. Each network's checkpoint is selected on validation cases. A case that
    lies on the scored side of several splits counts once, with its average. Finished cells are kept.

    Raises SyndiffError for the control among `kinds`, a kind named twice, and fewer than one split.
    """
    settings.refuse_all_but("study peers", "model", "training", "augmentation", "run.minutes")
    settings.refuse("study peers", "model.kind", "training.real_share")
    if settings.run.minutes:
        settings.refuse("study peers while run.minutes is above 0", "training.steps")
    if not kinds or REFERENCE in kinds or len(set(kinds)) < len(kinds):
        raise SyndiffError(
            f"--kinds {' '.join(kinds)}: expected one kind or more, each once; the control is always trained."
        )
    if splits < 1:
        raise SyndiffError(f"--splits is {splits}; expected 1 or more.")
    dataset = DatasetFolder.open(data)
    arms: tuple[Kind, ...] = (REFERENCE, *kinds)
    about = {"kinds": list(arms), "splits": splits, "split_method": split_method, "minutes": settings.run.minutes}
    config = settings.plain()
    if settings.run.minutes:
        del config["training"]["steps"]  # plan.json has the steps
    used = {section: config[section] for section in ("model", "training", "augmentation")}
    open_run(out / "study", {"study": about, "data": str(data), "seed": seed, **used})
    size = settings.model.image_size
    tables: dict[str, list[list[CaseRow]]] = {}
    for number in range(seed, seed + splits):
        split = obtain_split(dataset, out / "splits" / f"{number}.json", method=split_method, seed=number)
        log.info(describe_split(split))
        train_cases, val_cases = (load_cases([(dataset, ids)], size) for ids in (split.train, split.val))
        steps = plan_steps(out / "plan.json", settings, train_cases, arms)
        for kind in arms:
            cell = out / "cells" / kind / str(number)
            log.info(f"{cell}: {steps[kind]} steps")
            best = train_segmenter(
                cell,
                replace(settings, model=replace(settings.model, kind=kind)),
                steps[kind],
                split,
                train_cases,
                val_cases,
                synthetic=None,
                seed=number,
            )
            predictor = SegmenterPredictor.load(best, name=kind, seed=number)
            tables.setdefault(kind, []).append(case_scores(cell / "eval", best, predictor, dataset, split, side))
    content = tabulate(tables, REFERENCE)
    write_json(out / f"peers_{side}.json", {"study": about, "side": side, "seed": seed, "arms": content})
    text = as_markdown(content, REFERENCE)
    write_text(out / f"peers_{side}.md", text)
    return text
