"""Filling a folder of predictions: its journal, its table and what is unfinished, whoever predicts."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import Frame
from syndiff.inference.inputs import Input, output_names
from syndiff.inference.journal import Journal
from syndiff.inference.ledger import Outcome, Work
from syndiff.inference.outputs import unfinished
from syndiff.inference.stream import Segment
from syndiff.inference.table import Table
from syndiff.models.predictor import Prediction, SquarePredictor


def fill(
    out: Path,
    files: list[Input],
    origin: dict[str, Any],
    extras: frozenset[str],
    predict: Callable[[Work], Outcome],
    *,
    smooth: float,
    names: Mapping[str, str] | None = None,
    among: bool = False,
) -> Outcome:
    """Have `files` predicted into `out`, which the caller holds; in the end its table has what is there, come what may.

    `origin` is what masks depend on besides their images; `names` and `among` are those of a whole job, of part of
    which these are the files. Raises SyndiffError for an `out` with masks of another origin, and as `predict` does.
    """
    journal = Journal(out, origin)
    table = Table(out, journal)
    called = (
        output_names(files, journal.names) if names is None else {each.source: names[each.source] for each in files}
    )
    try:
        with unfinished(out) as staging:
            outcome = predict(Work(files, called, extras, out, staging, journal, table, smooth, among))
    except BaseException:
        with contextlib.suppress(OSError, SyndiffError):  # the disk is full, say: the next call writes it
            table.write()
        raise
    table.write()
    return outcome


def segment_by(predictor: SquarePredictor) -> Segment:
    """Segments a frame; its noise is that of its file's name, and of the frame where a file has several."""

    def segment(file: Input, frame: Frame) -> Prediction:
        case_id = f"{file.stem}/{frame.name}" if frame.name else file.stem
        return predictor.predict(frame.image, case_id=case_id)

    return segment
