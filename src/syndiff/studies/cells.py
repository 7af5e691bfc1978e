"""What studies share: a trained model's scores on one side of a split, computed once; intervals in words; figures."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

from syndiff.data.dataset import DatasetFolder
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow, evaluate, read_per_case
from syndiff.files import read_json, sha256, write_bytes
from syndiff.models.predictor import Predictor
from syndiff.training.checkpoints import find_checkpoint

Side = Literal["val", "test"]


def best_checkpoint(run: Path) -> Path:
    """The best checkpoint of a training. Raises SyndiffError where there is none."""
    checkpoint = find_checkpoint(run, "best")
    if checkpoint is None:
        raise SyndiffError(
            f"{run} holds no trained model (no checkpoints/best); give a run folder of `syndiff train` or one arm of "
            "`syndiff run`."
        )
    return checkpoint


def case_scores(
    cell: Path, checkpoint: Path, predictor: Predictor, dataset: DatasetFolder, split: Split, side: Side
) -> list[CaseRow]:
    """A predictor's scores on one side of the split, kept in the folder `cell` for as long as the weights stay."""
    provenance = {"weights": sha256(checkpoint / "model.safetensors"), "side": side}
    summary = cell / "summary.json"
    if not summary.is_file() or read_json(summary)["provenance"] != provenance:
        cases = getattr(split, side)
        evaluate(predictor, dataset, cases, cell, fingerprint=split.fingerprint, provenance=provenance, progress=False)
    return read_per_case(cell / "per_case.csv")


def interval_text(found: Mapping[str, Any] | None, digits: int = 3, sign: str = "") -> str:
    """The mean of `found` with its low and high, as far as they exist: `0.785 [0.457, 0.956]`."""
    if found is None or found["mean"] is None:
        return ""
    shown = f"{found['mean']:{sign}.{digits}f}"
    if found["low"] is None:
        return shown
    return f"{shown} [{found['low']:{sign}.{digits}f}, {found['high']:{sign}.{digits}f}]"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as SVG; the same figure gives the same bytes."""
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "syndiff", "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    write_bytes(path, content.getvalue())
