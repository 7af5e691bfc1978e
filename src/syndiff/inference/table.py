"""`predictions.csv`: a row of figures for every frame, made from the journal at the end of a call."""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.masks import count_components
from syndiff.data.readers import read_mask
from syndiff.files import keep_earlier, sha256, write_parts
from syndiff.inference.formats.base import Frame
from syndiff.inference.journal import Journal, Made
from syndiff.models.predictor import Prediction

NAME = "predictions.csv"

_COLUMNS = {
    "frame": "frame",
    "seconds": "seconds",
    "width": "width",
    "height": "height",
    "area_pixels": "area",
    "area_mm2": "area_mm2",
    "lesions": "lesions",
    "mean_probability": "mean_probability",
    "disagreement": "disagreement",
    "wide_area_pixels": "wide_area",
}
"""Columns between the source and the output, and what the journal's rows call them."""

_OF_CLASS = {"area_pixels": "area", "lesions": "lesions", "mean_probability": "mean_probability"}
"""The same for each of several classes, whose name comes first: "polyp: lesions"."""

_WIDE = ("wide_area_pixels", "wide_area")
"""And for those that have a wide contour."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def figures(frame: Frame, answer: Prediction) -> dict[str, Any]:
    """The row of a frame, for the journal; what is not known is left out.

    Of several classes the area and its mean probability are those of any, the lesions of all together.
    """
    mask = answer.mask
    area = int(np.count_nonzero(mask))
    row: dict[str, Any] = {"frame": frame.name, "width": mask.shape[1], "height": mask.shape[0], "area": area}
    if answer.targets.several:
        found = zip(answer.targets.names, answer.masks, answer.probabilities, strict=True)
        row["classes"] = {name: _of_class(mask, probability) for name, mask, probability in found}
        row["lesions"] = sum(each["lesions"] for each in row["classes"].values())
        for name, wide in answer.wides.items():
            row["classes"][name]["wide_area"] = int(np.count_nonzero(wide))
    else:
        row["lesions"] = count_components(mask)
    if frame.seconds is not None:
        row["seconds"] = round(frame.seconds, 6)
    if frame.spacing is not None:
        row["area_mm2"] = float(f"{area * frame.spacing[0] * frame.spacing[1]:.6g}")
    if area:
        row["mean_probability"] = round(float(answer.probability[mask].mean(dtype=np.float64)), 6)
    if answer.disagreement is not None:
        row["disagreement"] = round(answer.disagreement, 6)
    if answer.wide is not None:
        row["wide_area"] = int(np.count_nonzero(answer.wide))
    return row


def _of_class(mask: NDArray[np.bool_], probability: NDArray[np.float32]) -> dict[str, Any]:
    area = int(np.count_nonzero(mask))
    row: dict[str, Any] = {"area": area, "lesions": count_components(mask)}
    if area:
        row["mean_probability"] = round(float(probability[mask].mean(dtype=np.float64)), 6)
    return row


def figures_of_mask(path: Path) -> dict[str, Any]:
    """The row of a mask that an earlier version wrote: what the mask itself tells."""
    mask = read_mask(path, None)
    height, width = mask.shape
    area = int(np.count_nonzero(mask))
    return {"frame": "", "width": width, "height": height, "area": area, "lesions": count_components(mask)}


class Table:
    """The table of a folder of predictions; the caller holds the folder.

    While masks are written there is none: one that a kill left would not fit them. What a user changed in the table of
    an earlier call is kept beside it.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._path, self._journal = folder / NAME, journal
        self._there = self._path.is_file()

    def remove(self) -> None:
        """Take the table away, before the first change to the folder."""
        if self._there and self._path.is_file():
            if sha256(self._path) != self._checksum():
                keep_earlier(self._path)
            self._path.unlink()
        self._there = False

    def write(self) -> None:
        """Write the table as the journal has it, unless it is there."""
        if not self._there and not self._journal.is_empty:
            write_parts(self._path, self._lines())

    def _checksum(self) -> str:
        digest = hashlib.sha256()
        for line in self._lines():
            digest.update(line)
        return digest.hexdigest()

    def _lines(self) -> Iterator[bytes]:
        more = list(self._of_classes())
        yield _line(["source", *_COLUMNS, *(_text(f"{name}: {column}") for name, column, _ in more), "output"])
        for source, made, row in self._journal.rows():
            values = [row.get(key) for key in _COLUMNS.values()]
            own = [row.get("classes", {}).get(name, {}).get(key) for name, _, key in more]
            yield _line([_text(source), _text(str(values[0] or "")), *values[1:], *own, _text(_output(made, row))])

    def _of_classes(self) -> Iterator[tuple[str, str, str]]:
        """The columns of several classes: class, column, and what the rows call it."""
        for name in self._journal.classes:
            yield from ((name, column, key) for column, key in _OF_CLASS.items())
            if name in self._journal.wide_classes:
                yield name, *_WIDE


def _output(made: Made, row: dict[str, Any]) -> str:
    """The file that holds the mask of a frame: its own, or its source's; of a video not the one to look at."""
    own = f"{made.name}/{row.get('frame')}.png"
    masks = (each for each in made.files if each == own or each.startswith(f"{made.name}.masks."))
    return next(masks, next(iter(made.files), ""))


def _text(value: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def _line(values: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()
