"""Which models are offered, each loaded when it is first asked, and one answering at a time."""

import threading
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.inference.exported import is_export, read_card
from syndiff.inference.load import checkpoint_of, load
from syndiff.inference.options import EngineName
from syndiff.inference.serve.refusal import Refusal
from syndiff.models.calibration import read_calibrations
from syndiff.models.predictor import Prediction, SquarePredictor
from syndiff.models.settings import Refine
from syndiff.models.stored import DESCRIPTION, read_description
from syndiff.training.checkpoints import segmenters_in

MAX_MODELS = 16


class Models:
    """The models of some runs, by the number that the page calls them by, in the order of the command line."""

    def __init__(self, runs: tuple[Path, ...], engine: EngineName = "auto", refine: Refine = "none") -> None:
        """Find the models; none is loaded yet. Raises SyndiffError for a folder without one, and for too many."""
        folders = [folder for run in runs for folder in _models_of(run)]
        folders = list(dict.fromkeys(folders))
        if len(folders) > MAX_MODELS:
            raise SyndiffError(
                f"{len(folders)} models are given; expected {MAX_MODELS} at most. Name fewer with --run."
            )
        self._engine, self._refine = engine, refine
        self.folders = folders
        self.names = distinct_names(folders)
        self._loaded: dict[int, SquarePredictor] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.folders)

    def described(self) -> list[dict[str, Any]]:
        """What the page shows of each: number, name, kind and the guarantees' sentences, by class."""
        return [
            {"id": number, "name": name, **_facts(folder)}
            for number, (name, folder) in enumerate(zip(self.names, self.folders, strict=True))
        ]

    def load(self, number: int) -> SquarePredictor:
        """A model, loaded when it is first asked for. Raises Refusal (404) for a number that there is not."""
        if not 0 <= number < len(self.folders):
            raise Refusal(404, f"There is no model {number}; reload the page, the server was started anew.")
        with self._lock:
            if number not in self._loaded:
                try:
                    self._loaded[number] = load(self.folders[number], engine=self._engine, refine=self._refine)
                except ModuleNotFoundError as error:
                    raise SyndiffError(f"{self.names[number]} needs {error.name}, which is not installed.") from None
            return self._loaded[number]

    def predict(self, number: int, image: NDArray, case_id: str) -> Prediction:
        """The answer of a model to an image (HxWx3, uint8 or uint16), as `syndiff predict` gives it for `case_id`."""
        return self.load(number).predict(image, case_id=case_id)


def _models_of(run: Path) -> list[Path]:
    """The folder itself where it holds a model, else the segmenters of `syndiff run` in it.

    Raises SyndiffError where there is none, or its description is damaged.
    """
    arms = [] if is_export(run) or (run / DESCRIPTION).is_file() else segmenters_in(run)
    return [_checked(run / arm) for arm in arms] or [_checked(run)]


def _checked(run: Path) -> Path:
    if is_export(run):
        read_card(run)
    else:
        read_description(checkpoint_of(run), {"model": dict})
    return run


def _facts(folder: Path) -> dict[str, Any]:
    """Kind of the network, and what is guaranteed of each class that was calibrated."""
    if is_export(folder):
        card = read_card(folder)
        kind, described = str(card.kind), {} if card.calibration is None else {"calibration": card.calibration}
        origin, targets = folder, card.told_apart
    else:
        origin = checkpoint_of(folder)
        described = read_description(origin, {"model": dict})
        kind, targets = str(described["model"].get("kind", "")), Targets.of(described, origin)
    found = read_calibrations(described, origin, targets)
    return {"kind": kind, "guarantees": {name: each.sentence for name, each in found.items()}}


def distinct_names(folders: list[Path]) -> list[str]:
    """The last part of each path, with as many parts before it as tell them apart."""
    parts = [folder.absolute().parts for folder in folders]
    names = []
    for own in parts:
        length = next(
            (n for n in range(1, len(own) + 1) if sum(each[-n:] == own[-n:] for each in parts) == 1), len(own)
        )
        names.append("/".join(own[-length:]))
    return names
