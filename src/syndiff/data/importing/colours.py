"""Masks whose colours mean classes, such as `255,0,0=polyp`; black is the background."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import SyndiffError, shown

BLACK = (0, 0, 0)


@dataclass(frozen=True)
class Colours:
    """Labels by colour (red, green, blue: 0 to 255). Several colours may have one label; black need not be listed."""

    labels: tuple[str, ...]
    table: NDArray[np.uint8]
    """One colour a row (n x 3); the first is black."""
    owners: tuple[int, ...]
    """For each row, the place of its label in `labels`; -1 is background."""

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Colours":
        """Read `R,G,B=label` entries. Raises SyndiffError for one that is none, and for a colour that stands twice."""
        colours: dict[tuple[int, ...], str] = {}
        for text in texts:
            left, _, label = text.partition("=")
            parts = [part.strip() for part in left.split(",")]
            if (
                len(parts) != 3
                or not all(p.isdecimal() and len(p) < 4 and int(p) < 256 for p in parts)
                or not label.strip()
            ):
                raise SyndiffError(
                    f"--colours has {shown(text)}; expected red, green, blue=label, such as 255,0,0=polyp."
                )
            colour = tuple(map(int, parts))
            if colour in colours:
                raise SyndiffError(f"--colours names the colour {left} twice; it can mean one label only.")
            colours[colour] = label.strip()
        background = colours.pop(BLACK, "background")
        if background != "background":
            raise SyndiffError(
                f"--colours gives black the label {background!r}, but black is the background of a mask."
            )
        labels = tuple(dict.fromkeys(label for label in colours.values() if label != "background"))
        owners = [labels.index(label) if label != "background" else -1 for label in colours.values()]
        return cls(labels, np.array([BLACK, *colours], np.uint8), (-1, *owners))

    def find(
        self, samples: NDArray, file: Path, *, smeared: bool, notes: list[str]
    ) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Each label that occurs in a mask (HxWx3) with its pixels (HxW).

        Colours must be exact; where the file is `smeared` by JPEG, each pixel has the nearest of them, and `notes` says
        so. Raises SyndiffError, naming `file`, for a colour that is not listed.
        """
        if samples.dtype != np.uint8:
            raise SyndiffError(f"{file} has 16 bits; colours are read from masks of 8 bits: save it so.")
        packed = (samples.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)).astype(np.uint32)
        used, place = np.unique(packed, return_inverse=True)
        rgb = np.stack([used >> 16, used >> 8 & 255, used & 255], axis=1).astype(np.int32)
        nearest = np.empty(len(used), np.intp)
        far = np.empty(len(used), np.int64)
        for start in range(0, len(used), 65536):  # a JPEG may hold a million colours
            part = slice(start, start + 65536)
            apart = ((rgb[part, None] - self.table.astype(np.int32)) ** 2).sum(axis=2)
            nearest[part], far[part] = apart.argmin(axis=1), apart.min(axis=1)
        if smeared:
            note = "colour masks saved as JPEG are smeared: each pixel has the nearest of the colours that are named"
            if note not in notes:
                notes.append(note)
        elif far.any():
            counts = np.bincount(place.ravel(), minlength=len(used))
            worst = int(np.argmax(np.where(far > 0, counts, 0)))
            colour = ",".join(map(str, rgb[worst].tolist()))
            raise SyndiffError(
                f"{file} holds the colour {colour} ({counts[worst]:,} pixels), which --colours does not name; add "
                f"{colour}=label, or {colour}=background."
            )
        owners = np.array(self.owners)[nearest][place].reshape(samples.shape[:2])
        for index, label in enumerate(self.labels):
            pixels = owners == index
            if pixels.any():
                yield label, pixels
