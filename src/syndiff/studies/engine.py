"""The engine of all studies: plan, do what is missing, conclude."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from syndiff.errors import SyndiffError
from syndiff.files import check_claim, claimed, write_json, write_text
from syndiff.studies.budget import Estimate, estimate, in_words, pick, told
from syndiff.studies.grid import Cell, Conclusion, Findings, Grid, Outcome
from syndiff.studies.shared import spent
from syndiff.studies.study import Study
from syndiff.workers.base import Workers

KIND = "the folder of a study"
log = logging.getLogger("syndiff")


def run_study(study: Study) -> str:
    """Do what is missing of a study and write what it comes to; returns that in words.

    Writes <stem>.json, <stem>.md and <stem>.svg. With `dry_run` only the plan is told and nothing is written.

    Raises SyndiffError for a folder of something else or in use, and for whatever the study's own `grid` refuses.
    """
    if study.workers < 1:
        raise SyndiffError(f"--workers is {study.workers}; expected 1 or more.")
    if study.cluster() and study.workers > 1:
        raise SyndiffError("--workers has no effect with --ray, which does as many cells at once as it has room for.")
    if study.dry_run:
        check_claim(study.out, KIND, known=_is_older)
        return _plan(study)
    with claimed(study.out, KIND, known=_is_older):
        return _run(study)


def _plan(study: Study) -> str:
    grid = _grid(study)
    finished = [cell for cell in grid.cells if cell.finished(study.out)]
    expected = estimate(grid, study.out, finished)
    left = ""
    if study.minutes is not None:
        if expected.seconds is None:
            left = "--minutes: what fits is known when the first cell is finished."
        else:
            grid, left = pick(grid, expected, study.minutes)
            finished = [cell for cell in grid.cells if cell in finished]
            expected = replace(expected, seconds={(c.folder, c.tag): expected.of(c) for c in grid.cells})
    plan = told(grid, expected, finished, study.workers)
    return "\n".join([plan, *([left] if left else []), "nothing was written (dry run)"])


def _grid(study: Study) -> Grid:
    """The study's grid, once its time has been looked at too."""
    grid = study.grid()
    if study.minutes is not None and not study.minutes > 0:
        raise SyndiffError(
            f"--minutes is {study.minutes:g}; expected more than 0, or leave it out for the whole study."
        )
    return grid


def _run(study: Study) -> str:
    grid = _grid(study)
    if grid.config is not None:
        from syndiff.training.run_folder import open_run

        open_run(study.out / "study", grid.config, may_change=lambda name: name in grid.grows)
    for name, split in grid.splits.items():
        if not (study.out / name).is_file():
            split.write(study.out / name)
    with _workers(study, grid) as workers:
        grid, left = _fitting(study, grid, workers)
        done = _done(study, grid.cells, workers)
    return _written(study, study.conclude(Findings(done)), left)


@contextlib.contextmanager
def _workers(study: Study, grid: Grid) -> Iterator[Workers]:
    """Who does the cells; no cluster is asked where all are finished."""
    chosen = study.cluster()
    if chosen and not all(cell.finished(study.out) for cell in grid.cells):
        from syndiff.workers.cluster import on_ray

        with on_ray(chosen, study.out) as cluster:
            yield cluster
    else:
        from syndiff.workers.processes import Processes

        yield Processes(study.workers)


def _fitting(study: Study, grid: Grid, workers: Workers) -> tuple[Grid, str]:
    """The part of the grid that fits into the study's minutes, and what was left out."""
    if study.minutes is None:
        return grid, ""
    began = time.perf_counter()
    expected = _expected(study, grid)
    if expected.seconds is None:  # the first cell is wanted in any case
        _done(study, grid.cells[:1], workers)
        expected = _expected(study, grid)
    if expected.seconds is None:
        raise SyndiffError("--minutes: how long a cell takes could not be measured; leave --minutes out.")
    left_minutes = study.minutes - (time.perf_counter() - began) / 60
    kept, left = pick(grid, expected, max(left_minutes, 0.0))
    if left:
        left = left.replace(f"--minutes {max(left_minutes, 0.0):g}", f"--minutes {study.minutes:g}")
        log.warning(left)
    log.info(f"expected time: {in_words(sum(expected.of(cell) for cell in kept.cells))} ({expected.how})")
    return kept, left


def _expected(study: Study, grid: Grid) -> Estimate:
    return estimate(grid, study.out, [cell for cell in grid.cells if cell.finished(study.out)])


def _done(study: Study, cells: Sequence[Cell], workers: Workers) -> list[tuple[Cell, Outcome]]:
    """The outcomes of the cells, several at a time; those that measure time come last, one after another."""
    together = [cell for cell in cells if not cell.alone]
    found: dict[tuple[str, str], Outcome] = {}
    alone = study.ray is None and study.workers == 1
    with tqdm(total=len(cells), desc=study.name, unit="cell", disable=alone) as bar:
        for part, ahead in ((together, None), ([cell for cell in cells if cell.alone], 1)):
            finish = _Finish(study.out, 1 if ahead else workers.at_once, progress=alone or bool(ahead))
            for cell, outcome in zip(part, workers.map(finish, part, ahead=ahead), strict=True):
                bar.update()
                found[cell.folder, cell.tag] = outcome
                if words := outcome.scores.get("told"):
                    log.info(f"{study.out / cell.folder}: {words}")
    return [(cell, found[cell.folder, cell.tag]) for cell in cells]


@dataclass(frozen=True)
class _Finish:
    """Finishes a cell, or takes what is there."""

    out: Path
    workers: int
    progress: bool

    def __call__(self, cell: Cell) -> Outcome:
        if found := cell.finished(self.out):
            return found
        folder = self.out / cell.folder
        fresh, began, before = not folder.exists(), time.perf_counter(), spent()
        outcome = cell.work.do(folder, progress=self.progress)
        seconds = time.perf_counter() - began - (spent() - before)
        cell.keep(self.out, outcome, seconds=seconds, workers=self.workers, whole=fresh)
        return outcome


def _written(study: Study, concluded: Conclusion, left: str) -> str:
    """Write table, words, figures and picture; returns table and words."""
    words = "\n\n".join(part for part in (concluded.words, left) if part)
    text = concluded.table + (f"\n{words}\n" if words else "")
    content = {**concluded.content, "words": concluded.words, "left_out": left}
    write_json(study.out / f"{study.stem}.json", content)
    write_text(study.out / f"{study.stem}.md", text)
    if concluded.figure is not None:
        from syndiff.studies.figures import save_figure

        save_figure(concluded.figure, study.out / (study.figure or f"{study.stem}.svg"))
    return text


def _is_older(folder: Path) -> bool:
    """Whether a folder without a mark is a study's all the same, made before there were marks."""
    return any((folder / name).exists() for name in ("study/config.yaml", "cells", "steering.json", "uncertainty.json"))
