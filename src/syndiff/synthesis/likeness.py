"""How like the real lesions the new ones are as a set: size, shape, place, contrast; and which sizes found no place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.documents import check_object, read_object
from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.synthesis.manifest import Sample
from syndiff.synthesis.placement.album import Album
from syndiff.synthesis.placement.population import QUARTERS

REAL = "real_lesions.json"
"""In a synthetic folder: what was measured of the real lesions that the new ones are held against."""

FILE = "likeness.json"
"""In a synthetic folder: the comparison."""

WORDS = {
    "area": ("size, as a share of the view", "smaller", "larger"),
    "elongation": ("elongation", "rounder", "longer"),
    "distance": ("distance from the centre of the view", "nearer to the centre of the view", "further off the centre"),
    "edge": ("share of the contour on the edge of the view", "less cut by the edge", "more cut by the edge"),
    "contrast": ("contrast to the surroundings", "less contrasted", "more contrasted"),
}
"""What is measured (`placement.measures`), in words, and how new lesions with less and with more of it are called."""

_REPEATS = 300
_CERTAIN = 0.95


@dataclass(frozen=True)
class Compared:
    """One measure of real and of new lesions: their quartiles, and how far the two distributions are apart.

    `distance` is the Wasserstein-1 distance in standard deviations of the real lesions (None where these are all equal
    and the new ones are not). `chance` is what as many draws from the real lesions stay below in 95 % of cases,
    `patients` the same where the groups are drawn first, with replacement: other patients than these.
    """

    real: tuple[float, float, float]
    new: tuple[float, float, float]
    more: bool
    distance: float | None
    chance: float
    patients: float

    @property
    def differs(self) -> bool:
        """Whether chance alone does not explain it."""
        return self.distance is None or self.distance > self.chance


@dataclass(frozen=True)
class Likeness:
    """New against real lesions. `quarters` count the attempts by size, from the smallest quarter of the real ones."""

    real: int
    groups: int
    new: int
    measures: Mapping[str, Compared] = field(default_factory=dict)
    quarters: Sequence[Mapping[str, float]] = ()

    @classmethod
    def of(cls, folder: Path, samples: Iterable[Sample]) -> "Likeness":
        """Compare the accepted samples of a synthetic folder with its real_lesions.json."""
        real = read_real(folder)
        lesions: list[Mapping[str, float]] = []
        ends = [float(end) for end in np.quantile([each["area"] for each in real], np.linspace(0, 1, QUARTERS + 1))]
        quarters = [
            {"from": round(low, 5), "to": round(high, 5), "attempts": 0, "no_place": 0, "accepted": 0}
            for low, high in pairwise(ends)
        ]
        for sample in samples:
            if sample.accepted:
                lesions += sample.lesions or ()
            target = (sample.placement or {}).get("target")
            if target:
                row = quarters[target["quarter"] - 1]
                row["attempts"] += 1
                row["no_place"] += sample.source_case is None
                row["accepted"] += sample.accepted
        groups = [each["group"] for each in real]
        measures = {}
        for name in WORDS if lesions else ():
            measures[name] = _compared(
                np.array([each[name] for each in real]), groups, np.array([each[name] for each in lesions])
            )
        counted = quarters if any(row["attempts"] for row in quarters) else []
        return cls(len(real), len(set(groups)), len(lesions), measures, counted)

    def write(self, folder: Path) -> None:
        """Write likeness.json."""
        write_json(folder / FILE, asdict(self) | {"sentences": self.sentences})

    @property
    def sentences(self) -> list[str]:
        """In plain words: each measure that chance alone does not explain, if any, and sizes that found no place."""
        said = []
        for name, each in self.measures.items():
            if each.differs:
                what, less, more = WORDS[name]
                apart = "which are all alike in it" if each.distance is None else f"distance {each.distance:.2f}"
                within = each.distance is not None and each.distance <= each.patients
                said.append(
                    f"New lesions are {more if each.more else less} than the real ones ({what}: median "
                    f"{each.new[1]:.3g}, real {each.real[1]:.3g}; {apart}, by chance up to {each.chance:.2f}, with "
                    f"other patients up to {each.patients:.2f}"
                    f"{', which they stay within' if within else ''})."
                )
        if self.measures and not said:
            said.append("New lesions are like the real ones in size, shape, place and contrast, as far as chance lets.")
        for number, row in enumerate(self.quarters, 1):
            if row["no_place"]:
                said.append(
                    f"Size quarter {number} ({row['from']:.3g} to {row['to']:.3g} of the view): "
                    f"{row['no_place']} of {row['attempts']} attempts found no place."
                )
        return said

    def table(self) -> str:
        """The comparison in lines of text."""
        lines = [f"{self.new} new lesions against {self.real} real ones of {self.groups} groups"]
        if self.measures:
            lines.append(f"  {'measure':12} {'real quartiles':22} {'new quartiles':22} distance  chance  patients")
        for name, each in self.measures.items():
            real, new = (" ".join(f"{value:.3g}" for value in values) for values in (each.real, each.new))
            apart = "n/a" if each.distance is None else f"{each.distance:.2f}"
            lines.append(f"  {name:12} {real:22} {new:22} {apart:>8}  {each.chance:6.2f}  {each.patients:8.2f}")
        return "\n".join([*lines, *(f"  {sentence}" for sentence in self.sentences)])


def write_real(album: Album, folder: Path) -> None:
    """Write real_lesions.json: measures and group of the real lesions, no pixel of them."""
    rows = [{"group": case.group or case.id} | lesion.rounded() for case, lesion in album.measures()]
    write_json(folder / REAL, {"lesions": rows})


def read_real(folder: Path) -> list[dict[str, Any]]:
    """What real_lesions.json holds of each lesion. Raises SyndiffError for a file that is none."""
    path, mend = folder / REAL, "Restore it, or synthesize into another folder."
    rows: list[dict[str, Any]] = read_object(path, {"lesions": list}, mend=mend)["lesions"]
    kinds = {"group": str} | dict.fromkeys(WORDS, float)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise SyndiffError(f"{path}: lesion {number} is no object with {', '.join(kinds)}. {mend}")
        check_object(f"{path}: lesion {number}", row, kinds, mend=mend)
    if not rows:
        raise SyndiffError(f"{path} holds no lesion. {mend}")
    return rows


def lesions_of(folder: Path, samples: Iterable[Sample]) -> tuple[dict[str, list[float]], dict[str, list[float]]] | None:
    """Each measure of the real lesions and of those of the accepted samples, to be drawn.

    None where nothing was accepted, or an earlier version, which did not measure, made the folder.
    """
    new = [lesion for sample in samples if sample.accepted for lesion in sample.lesions or ()]
    if not new or not (folder / REAL).is_file():
        return None
    real = read_real(folder)
    return {name: [each[name] for each in real] for name in WORDS}, {
        name: [each[name] for each in new] for name in WORDS
    }


def _compared(real: NDArray[np.float64], groups: Sequence[str], new: NDArray[np.float64]) -> Compared:
    from scipy.stats import wasserstein_distance  # half a second, which reading a folder does without

    rng, spread = np.random.default_rng(0), float(real.std())
    members = [np.flatnonzero(np.array(groups) == name) for name in sorted(set(groups))]
    drawn: list[list[float]] = [[], []]
    for _ in range(_REPEATS if spread else 0):
        pools = (
            np.arange(len(real)),
            np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]),
        )
        for pool, found in zip(pools, drawn, strict=True):
            other = real[pool[rng.integers(len(pool), size=len(new))]]
            found.append(float(wasserstein_distance(real, other)) / spread)
    chance, patients = (float(np.quantile(found, _CERTAIN)) if found else 0.0 for found in drawn)
    apart = float(wasserstein_distance(real, new))
    distance = apart / spread if spread else None if apart > 1e-9 else 0.0
    quartiles = [tuple(round(float(v), 5) for v in np.quantile(values, (0.25, 0.5, 0.75))) for values in (real, new)]
    return Compared(
        real=(quartiles[0][0], quartiles[0][1], quartiles[0][2]),
        new=(quartiles[1][0], quartiles[1][1], quartiles[1][2]),
        more=bool(new.mean() > real.mean()),
        distance=None if distance is None else round(distance, 4),
        chance=round(chance, 4),
        patients=round(max(chance, patients), 4),
    )
