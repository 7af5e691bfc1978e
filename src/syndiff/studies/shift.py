"""The cells of `study shift`: synthetic against real pictures as distributions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.documents import check_object, read_object
from syndiff.errors import SyndiffError
from syndiff.evaluation import distribution as dist
from syndiff.evaluation.statistics import score_interval
from syndiff.pipeline.provenance import open_synthetic
from syndiff.studies.choices import Side
from syndiff.studies.features import (
    MEASURES,
    SPACES,
    VIEWS,
    Features,
    Networks,
    read_features,
    real_groups,
    synthetic_groups,
)
from syndiff.studies.grid import Cell, Outcome
from syndiff.studies.shared import once


@dataclass(frozen=True)
class Part:
    """The first `count` cases of a synthetic folder: a level; with a ratio study, its difference in Dice to none."""

    level: str
    folder: Path
    count: int
    dice: float | None = None


@dataclass(frozen=True)
class Shift:
    """A cell that holds the first `count` cases of a set against the real training cases."""

    study: Path
    real: Features
    new: Features
    count: int
    draws: int
    seed: int

    def decides(self) -> dict[str, Any]:
        """The cases, the weights, and how the comparison is drawn."""
        asked = {"count": self.count, "draws": self.draws, "seed": self.seed}
        return {"real": self.real.decides(), "new": self.new.decides(), **asked}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Compare both views in both spaces, and what is measured of lesions."""
        (real, groups), (new, others) = (read_features(once(step, progress=progress)) for step in (self.real, self.new))
        found: dict[str, Any] = {}
        for view in VIEWS:
            for space in SPACES:
                name = f"{view}/{space}"
                samples = _sample(real[name], groups[view]), _sample(new[name][: self.count], others[view])
                found[name] = self._compared(*samples)
        found["measures"] = {}
        for index, name in enumerate(MEASURES):
            column = slice(index, index + 1)
            one = _sample(real["measures"][:, column], groups["lesion"])
            made = _sample(new["measures"][: self.count, column], others["lesion"])
            scale = dist.Scale.of(one.features)
            one, made = (dist.Sample(scale(each.features), each.groups) for each in (one, made))
            against = dist.against_real(one, made, {name: dist.wasserstein}, draws=self.draws, seed=self.seed)
            shifted = float(made.features.mean()) if len(made) else None
            found["measures"][name] = {**asdict(against[name]), "shift": shifted}
        return Outcome({"count": self.count, "real": len(self.real.ids), "groups": len(set(groups["frame"])), **found})

    def _compared(self, real: dist.Sample, new: dist.Sample) -> dict[str, Any]:
        scale = dist.Scale.of(real.features)
        real, new = (dist.Sample(scale(each.features), each.groups) for each in (real, new))
        within = _usual_nearest(real)
        statistics: dict[str, dist.Statistic] = {
            "frechet": dist.frechet_distance,
            "kernel": dist.kernel_distance,
            "precision": dist.precision,
            "recall": dist.recall,
            "diversity": lambda _, sample: dist.diversity(sample),
            "duplicates": lambda _, sample: dist.near_duplicates(sample, within),
        }
        compare = partial(dist.against_real, draws=self.draws, seed=self.seed)
        against = compare(real, new, statistics, joined={"joined": dist.kernel_distance})
        classifier = None
        if min(len(real), len(new)) >= dist.LEAST:
            hits, groups = dist.told_apart(real, new, seed=self.seed)
            classifier = asdict(score_interval([float(hit) for hit in hits], groups))
        return {**{name: asdict(each) for name, each in against.items()}, "classifier": classifier}


def _sample(features: Any, groups: Sequence[str]) -> dist.Sample:
    """Without what does not apply (NaN)."""
    there = np.flatnonzero(~np.isnan(features).any(axis=1))
    return dist.Sample(features[there], [groups[index] for index in there.tolist()])


def _usual_nearest(real: dist.Sample) -> float:
    """The distance below which only one in twenty real pictures has a neighbour of another patient."""
    apart = dist.distances(real.features, real.features)
    names = np.array(real.groups)
    apart[names[:, None] == names] = np.inf
    return float(np.quantile(apart.min(axis=1), 0.05))


def parts_of_ratio(study: Path, side: Side) -> list[Part]:
    """The sets of a finished ratio study, with what each added to the Dice. Raises SyndiffError where it is none."""
    path = study / f"ratio_{side}.json"
    if not path.is_file():
        raise SyndiffError(
            f"{path} is not there; expected the folder of a finished `syndiff study ratio` that scored --side {side}."
        )
    mend = "Run the ratio study again: it keeps its cells."
    arms = read_object(path, {"arms": dict}, mend=mend)["arms"]
    parts = []
    for level, arm in arms.items():
        about = check_object(f"{path}: arms.{level}", arm, {"added": int}, mend=mend)
        if about["added"]:
            inside = check_object(f"{path}: arms.{level}", arm, {"difference": dict}, mend=mend)["difference"]
            dice = check_object(f"{path}: arms.{level}.difference", inside, {"dice": dict}, mend=mend)["dice"]
            parts.append((level, about["added"], dice.get("mean")))
    folders = {each.name: each for each in (study / "synthetic").glob("*") if each.is_dir()}
    found = []
    for level, count, dice in parts:
        mode = level.partition(", ")[2].replace(" ", "-")
        name = mode or (next(iter(folders)) if len(folders) == 1 else "gates")
        if name not in folders:
            raise SyndiffError(f"{study / 'synthetic' / name} is not there, on which its {level} stands. {mend}")
        found.append(Part(level, folders[name], count, dice))
    return found


def parts_of_sets(folders: Sequence[Path], counts: Sequence[int], split: Split, dataset: Dataset) -> list[Part]:
    """Parts of synthetic folders; those of several folders are named after them."""
    if len({each.resolve().name for each in folders}) < len(folders):
        raise SyndiffError("--synthetic: two folders of one name; expected each once, with a name of its own.")
    parts = []
    for folder in folders:
        named = f", {folder.resolve().name}" if len(folders) > 1 else ""
        for count in sorted(set(counts)) or [len(open_synthetic(folder, split, dataset).cases)]:
            parts.append(Part(f"{count}{named}", folder, count))
    return parts


def cells(
    study: Path,
    dataset: Dataset,
    split: Split,
    parts: Sequence[Part],
    *,
    run: Path | None,
    autoencoder: str,
    draws: int,
    seed: int,
    fetch: bool,
) -> list[Cell]:
    """A cell for each part.

    Raises SyndiffError for a set that does not show where it came from or has too few cases, for too few groups of real
    cases, and for weights that are not there.
    """
    networks = Networks.find(run, autoencoder, fetch=fetch)
    train = [dataset[name] for name in split.train]
    groups = real_groups(train)
    if len({frame for frame, _ in groups.values()}) < dist.MIN_GROUPS:
        raise SyndiffError(
            f"{dataset.root}: the training cases of the split are of {len({f for f, _ in groups.values()})} groups; "
            f"expected {dist.MIN_GROUPS} or more, so that patients can be compared with other patients."
        )
    real = Features(
        *(study, "features/real", dataset.root, tuple(case.id for case in train), groups),
        *(dataset.fingerprint_of(train), networks),
    )
    sets = {}
    for number, folder in enumerate(dict.fromkeys(part.folder for part in parts)):
        synthetic = open_synthetic(folder, split, dataset)
        most = max(part.count for part in parts if part.folder == folder)
        if len(synthetic.cases) < most:
            raise SyndiffError(f"{folder} has {len(synthetic.cases)} accepted cases, {most} are wanted; ask for fewer.")
        made = synthetic.cases[:most]
        groups, frames = synthetic_groups(folder, [case.id for case in made])
        sets[folder] = Features(
            *(study, f"features/{number}-{folder.resolve().name}", folder, tuple(case.id for case in made), groups),
            *(synthetic.fingerprint_of(made), networks),
            real=dataset.root,
            frames=frames,
        )
    works = [(part, Shift(study, real, sets[part.folder], part.count, draws, seed)) for part in parts]
    return [
        Cell(part.level, "0", f"cells/{part.level.replace(', ', '-').replace(' ', '-')}", work) for part, work in works
    ]
