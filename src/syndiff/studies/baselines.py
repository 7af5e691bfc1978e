"""The segmenter beside what people would pick instead: trained as long, on the same splits, its scores paired."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.loading import load_cases
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow
from syndiff.files import write_json, write_text
from syndiff.models.baselines import BASELINES
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter_settings import Kind
from syndiff.pipeline.early import check_segmenters
from syndiff.pipeline.splitting import stored_split
from syndiff.pipeline.training import plan_segmenters, train_segmenter
from syndiff.studies.cells import case_scores, in_processes, mean_case_dice, part_of_the_threads
from syndiff.studies.choices import Side
from syndiff.studies.table import as_markdown, tabulate
from syndiff.training.checkpoints import steps_done
from syndiff.training.planning import PLAN, Plan
from syndiff.training.run_folder import open_run

log = logging.getLogger("syndiff")
REFERENCE: Kind = "control"


@dataclass(frozen=True)
class Cell:
    """One training: a kind of network on one split, whose seed it shares."""

    folder: Path
    kind: Kind
    plan: Plan
    split: Split


def baselines(
    data: Path,
    out: Path,
    settings: Settings,
    *,
    kinds: Sequence[Kind],
    splits: int,
    split_method: str,
    workers: int,
    side: Side,
    seed: int,
) -> str:
    """Train the control and every one of `kinds` equally long on each of `splits` splits; returns a table.

    Steps are planned from the time that a step of each network takes here, so that all train equally long; with
    `run.minutes` at 0 all take `training.steps`. Each network's checkpoint is selected on validation cases. A case that
    lies on the scored side of several splits counts once, with its average. Finished cells are kept. `workers`
    trainings run at a time; a step is timed alone, with one worker's part of the threads.

    Raises SyndiffError for the control among `kinds`, a kind named twice, and fewer than one split or worker.
    """
    check_use(
        settings,
        "study baselines",
        None if "diffusion" in kinds else "study baselines without the kind diffusion",
        "study baselines while run.minutes is above 0" if settings.run.minutes else None,
    )
    if not kinds or REFERENCE in kinds or len(set(kinds)) < len(kinds):
        raise SyndiffError(
            f"--kinds {' '.join(kinds)}: expected one kind or more, each once; the control is always trained."
        )
    for name, value in (("splits", splits), ("workers", workers)):
        if value < 1:
            raise SyndiffError(f"--{name} is {value}; expected 1 or more.")
    for kind in kinds:
        if kind in BASELINES:
            BASELINES[kind]()  # a library that is missing shows here, not after hours of training
    dataset = open_checked(data)
    arms: tuple[Kind, ...] = (REFERENCE, *kinds)
    about = {"kinds": list(arms), "splits": splits, "split_method": split_method, "minutes": settings.run.minutes}
    check_segmenters(settings, arms, fetch=True)
    config = settings.recorded()
    if settings.run.minutes:
        del config["training"]["steps"]  # plan.json has the steps
    used = {section: config[section] for section in ("model", "training", "augmentation")}
    open_run(out / "study", {"study": about, "data": str(data), "seed": seed, **used})
    cells, begun = [], (out / "cells").is_dir()
    for number in range(seed, seed + splits):
        path = out / "splits" / f"{number}.json"
        split = stored_split(dataset, path, method=split_method, seed=number)
        if not path.is_file():
            split.write(path)
        log.info(str(split))
        train_cases = load_cases([(dataset, split.train)], settings.model.image_size)
        with part_of_the_threads(workers):
            plans = plan_segmenters(out / PLAN, settings, train_cases, arms, told=number == seed and not begun)
        cells += [Cell(out / "cells" / kind / str(number), kind, plans[kind], split) for kind in arms]
    finish = partial(_finish, settings=settings, dataset=dataset, side=side, progress=workers == 1)
    tables: dict[str, list[list[CaseRow]]] = {}
    for cell, rows in zip(cells, in_processes(finish, cells, workers), strict=True):
        tables.setdefault(cell.kind, []).append(rows)
        log.info(f"{cell.folder}: mean {side} Dice {mean_case_dice(rows):.3f} after {steps_done(cell.folder):,} steps")
    content = tabulate(tables, REFERENCE)
    write_json(out / f"baselines_{side}.json", {"study": about, "side": side, "seed": seed, "arms": content})
    text = as_markdown(content, REFERENCE)
    write_text(out / f"baselines_{side}.md", text)
    return text


def _finish(cell: Cell, *, settings: Settings, dataset: Dataset, side: Side, progress: bool) -> list[CaseRow]:
    """Train the cell or go on; its scores on one side of its split."""
    split, size = cell.split, settings.model.image_size
    best = train_segmenter(
        cell.folder,
        replace(settings, model=replace(settings.model, kind=cell.kind)),
        cell.plan,
        split,
        load_cases([(dataset, split.train)], size),
        load_cases([(dataset, split.val)], size),
        synthetic=None,
        seed=split.seed,
        progress=progress,
    )
    predictor = SegmenterPredictor.load(best, name=cell.kind, seed=split.seed)
    return case_scores(cell.folder / "eval", best, predictor, dataset, split, side)
