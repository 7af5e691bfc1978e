"""Which cases train, validate and test: drawn once, written to one JSON, read by everything after.

`group`       whole groups (patients, videos) on one side, balanced in cases and in the area of each class, each
              class on every side where groups allow it; the default where groups are known.
`random`      single cases, for datasets without groups. It cannot rule out that frames of one patient lie on
              both sides; where groups are known, they do, and the split is marked leaky.
`random-488`  the 488/62/62 random split of CVC-ClinicDB's 612 frames that many papers report on; leaky, since
              frames of one video sequence lie on both sides.
`pranet`      the test cases that PraNet (Fan et al., MICCAI 2020) and its successors report on, read from
              `pranet-test.txt` in the dataset folder; leaky in the same way.
"""

import dataclasses
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from syndiff.data.dataset import Dataset
from syndiff.data.listing import nfc
from syndiff.documents import digest, read_json, read_text
from syndiff.errors import SyndiffError
from syndiff.files import check_regular, write_json

SHARES = (0.70, 0.15, 0.15)
"""Intended shares of train, val and test, in cases and (by groups) in lesion area."""

METHODS = ("group", "random", "random-488", "pranet")
PRANET_LIST = "pranet-test.txt"

_SIDES = ("train", "val", "test")
_KINDS: dict[str, type] = {
    "method": str,
    "seed": int,
    "leaky": bool,
    "dataset": str,
    "fingerprint": str,
    **dict.fromkeys(_SIDES, list),
}
_CANDIDATES = 4096
_GOOD_DEVIATION = 0.02
log = logging.getLogger("syndiff")


@dataclass(frozen=True)
class Split:
    """The case ids of each side, how they were drawn, and the dataset they were drawn from.

    >>> split = syndiff.split("my-polyps")
    >>> split.write("split.json")
    >>> syndiff.Split.read("split.json") == split
    True
    """

    method: str
    seed: int
    leaky: bool
    """Whether the method lets frames of one patient or video lie on both sides."""
    dataset: str
    """The dataset's name."""
    fingerprint: str
    """`Dataset.fingerprint` of the dataset when the split was drawn."""
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Hexadecimal SHA-256 of everything that the split says."""
        return digest(dict(sorted(dataclasses.asdict(self).items())))

    def write(self, path: Path | str) -> None:
        """Write the split as JSON, atomically."""
        write_json(Path(path), dataclasses.asdict(self))

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a split; a damaged one, an empty side or a case listed twice is a SyndiffError naming it."""
        content = read_json(path := Path(path))
        if not isinstance(content, dict) or content.keys() != _KINDS.keys():
            raise SyndiffError(
                f"{path} is not a split: it must hold {', '.join(_KINDS)} and nothing else. "
                "Make it anew with `syndiff data split`."
            )
        for name, kind in _KINDS.items():
            if type(content[name]) is not kind or (
                kind is list and not all(isinstance(case_id, str) for case_id in content[name])
            ):
                wanted = "a list of case ids" if kind is list else f"of type {kind.__name__}"
                raise SyndiffError(f"{path}: {name} must be {wanted}. Make it anew with `syndiff data split`.")
        sides: dict[str, Any] = {side: tuple(content[side]) for side in _SIDES}
        split = cls(**{**content, **sides})
        side_of: dict[str, str] = {}
        for side, case_id in split._placed():
            if case_id in side_of:
                raise SyndiffError(
                    f"{path}: case {case_id} is listed in {side_of[case_id]} and in {side}. Keep it in one place."
                )
            side_of[case_id] = side
        for side in _SIDES:
            if not getattr(split, side):
                raise SyndiffError(f"{path}: {side} is empty. Each of train, val and test needs at least one case.")
        return split

    def __str__(self) -> str:
        """One line on who is where."""
        leak = " - LEAKY: frames of one sequence may lie on both sides" if self.leaky else ""
        return (
            f"split {self.method}, seed {self.seed}: {len(self.train)} training, {len(self.val)} validation and "
            f"{len(self.test)} test cases{leak}"
        )

    def check(self, dataset: Dataset) -> None:
        """Raise SyndiffError unless the split fits `dataset` as it now lies on the disk.

        An unknown case, a group on two sides (unless the split is marked leaky) or changed files are refused.
        Cases of the dataset that lie on no side are allowed: leaving cases out is the user's right.
        """
        _require_known((case_id for _, case_id in self._placed()), dataset, "the split")
        side_of: dict[str, str] = {}
        for side, case_id in self._placed():
            group = dataset[case_id].group
            if group is not None and side_of.setdefault(group, side) != side and not self.leaky:
                raise SyndiffError(
                    f"group {group} lies in both {side_of[group]} and {side} of the split "
                    f"(case {case_id}), so the same patient or video would be learnt and judged. "
                    "Move its cases to one side or make the split anew with `syndiff data split`."
                )
        found = dataset.fingerprint()
        if found != self.fingerprint:
            raise SyndiffError(
                f"the split was made for {self.dataset} with fingerprint {self.fingerprint[:12]}, but "
                f"{dataset.root} has {found[:12]}: images, masks, groups, or the settings of masks in dataset.json "
                "(mask_threshold, classes, overlap) have changed since, or an earlier version, which did not look at "
                "these settings, made the split. Restore them, or make it anew: the same method and seed divide the "
                f"same cases alike (`syndiff data split --data {dataset.root} --method {self.method} --seed "
                f"{self.seed} --out FILE`)."
            )

    def _placed(self) -> Iterable[tuple[str, str]]:
        """Yield (side, case id) of every listing."""
        return ((side, case_id) for side in _SIDES for case_id in getattr(self, side))


def make_split(dataset: Dataset, *, method: str = "auto", seed: int = 0) -> Split:
    """Divide the cases of `dataset`; the same seed and files give the same split on every machine.

    `auto` is `group` when groups are known, else `random`; the module's docstring describes the others.
    Raises SyndiffError for an unknown method or one that the dataset does not allow.
    """
    if method == "auto":
        method = "group" if dataset.has_groups else "random"
    generator = np.random.default_rng(seed)
    ids = [case.id for case in dataset.cases]
    if method == "group":
        sides = _by_group(dataset, generator)
    elif method == "random":
        if len(ids) < 3:
            raise SyndiffError(f"{dataset.root} has {len(ids)} cases; a split needs at least three.")
        held_out = [max(1, round(share * len(ids))) for share in SHARES[1:]]
        sides = _by_case(ids, held_out[0], held_out[1], generator)
    elif method == "random-488":
        if len(ids) != 612:
            raise SyndiffError(
                f"random-488 divides the 612 frames of CVC-ClinicDB into 488/62/62, but {dataset.root} has "
                f"{len(ids)} cases. Split by the method group or random."
            )
        sides = _by_case(ids, 62, 62, generator)
    elif method == "pranet":
        test = _pranet_test(dataset)
        rest = [case_id for case_id in ids if case_id not in test]
        if len(rest) < 2:
            raise SyndiffError(f"{dataset.root / PRANET_LIST} leaves {len(rest)} cases to train and validate on.")
        train, val, _ = _by_case(rest, max(1, round(0.1 * len(rest))), 0, generator)
        sides = train, val, sorted(test)
    else:
        raise SyndiffError(f"split method {method} is unknown. Use one of auto, {', '.join(METHODS)}.")
    if dataset.told_apart.several:
        _tell_absent(dataset, sides)
    return Split(
        method=method,
        seed=seed,
        leaky=method != "group" and (method != "random" or dataset.has_groups),
        dataset=dataset.name,
        fingerprint=dataset.fingerprint(),
        train=tuple(sides[0]),
        val=tuple(sides[1]),
        test=tuple(sides[2]),
    )


def _by_case(
    ids: list[str], val: int, test: int, generator: np.random.Generator
) -> tuple[list[str], list[str], list[str]]:
    """Shuffle the sorted ids and take `val` and `test` of them; the rest trains. Sides come back sorted."""
    shuffled = [str(case_id) for case_id in generator.permutation(sorted(ids))]
    return sorted(shuffled[val + test :]), sorted(shuffled[:val]), sorted(shuffled[val : val + test])


def _by_group(dataset: Dataset, generator: np.random.Generator) -> tuple[list[str], list[str], list[str]]:
    """Send every group to a side at random, many times, and keep a well-balanced outcome.

    Balance is the largest deviation of any side's share of cases or of the area of a class from `SHARES`. Taking the
    first candidate that is good enough, rather than the best, keeps different seeds different. Area is
    counted as a fraction of each image, so large images do not dominate. Of several classes, the candidates count that
    leave the fewest of them away from a side.
    """
    if not dataset.has_groups:
        raise SyndiffError(
            f"{dataset.root} has no groups.csv, so it cannot be split by group. Add one (columns case,group: "
            "patient or video), or split by the method random."
        )
    group_of = {case.id: case.group for case in dataset.cases if case.group is not None}
    groups = sorted(set(group_of.values()))
    if len(groups) < 3:
        raise SyndiffError(
            f"{dataset.root / 'groups.csv'} names {len(groups)} groups ({', '.join(groups)}); "
            "train, val and test need at least one each. "
            "Add cases of more patients, or split by the method random, which may leak."
        )
    index = {group: position for position, group in enumerate(groups)}
    # Row 0: cases, then the area of each class, all as shares of the whole; a column per group.
    weights = np.zeros((1 + len(dataset.targets), len(groups)))
    for case in dataset.cases:
        weights[:, index[group_of[case.id]]] += 1, *(mask.mean() for mask in dataset.masks_alone(case))
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)

    candidates = min(_CANDIDATES, max(16, 4_000_000 // len(groups)))  # bounds the memory at 100 MB or so
    assigned = generator.choice(3, size=(candidates, len(groups)), p=SHARES)
    # The first three groups of a random order open one side each, so that no side is empty.
    openers = generator.permuted(np.tile(np.arange(len(groups)), (candidates, 1)), axis=1)[:, :3]
    np.put_along_axis(assigned, openers, np.arange(3)[None], axis=1)
    shares = np.stack([(assigned == side) @ weights.T for side in range(3)], axis=1)
    annotated = weights.any(axis=1)  # of a class that no mask has, nothing can be balanced
    deviation = np.abs(shares - np.array(SHARES)[None, :, None])[:, :, annotated].max(axis=(1, 2))
    if dataset.told_apart.several:
        absent = (shares[:, :, annotated] == 0).sum(axis=(1, 2))
        deviation = np.where(absent == absent.min(), deviation, np.inf)
    good = np.flatnonzero(deviation <= max(_GOOD_DEVIATION, 1.1 * deviation.min()))
    side_of = assigned[good[0]]

    sides: tuple[list[str], list[str], list[str]] = ([], [], [])
    for case in dataset.cases:
        sides[side_of[index[group_of[case.id]]]].append(case.id)
    return sides


def _tell_absent(dataset: Dataset, sides: Iterable[Iterable[str]]) -> None:
    """Warn of each class that a side has no case of."""
    for side, ids in zip(_SIDES, sides, strict=True):
        found = np.zeros(len(dataset.targets), bool)
        for case_id in ids:
            found |= dataset.masks_alone(dataset[case_id]).any(axis=(1, 2))
        for name, there in zip(dataset.targets, found, strict=True):
            if not there:
                log.warning(
                    f"The {side} cases of the split hold no {name}: it is in too few groups, or this split is none by "
                    f"group. Scores of {name} say nothing there; add cases of more patients that show it."
                )


def _pranet_test(dataset: Dataset) -> set[str]:
    path = dataset.root / PRANET_LIST
    try:
        check_regular(path)
        test = {nfc(case_id) for case_id in read_text(path).split()}
    except FileNotFoundError:
        raise SyndiffError(
            f"{path} does not exist. The pranet split needs its list of test cases there, one id a line."
        ) from None
    if not test:
        raise SyndiffError(f"{path} is empty. The pranet split needs its test cases there, one id a line.")
    _require_known(test, dataset, str(path))
    return test


def _require_known(ids: Iterable[str], dataset: Dataset, where: str) -> None:
    unknown = sorted(set(ids) - {case.id for case in dataset.cases})
    if unknown:
        named = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise SyndiffError(
            f"{where} names {len(unknown)} cases that {dataset.root} does not have ({named}). "
            "Use the dataset it was made for."
        )
