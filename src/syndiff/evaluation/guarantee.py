"""A guarantee on patients the model has not met, from patients that neither trained nor chose it.

The *wide contour* at a threshold t holds every pixel whose probability is above t. Frames of one patient are alike, so
the patient (the group) is the unit of chance. Two statements can be made of n groups:

`groups`   Each group's level is the highest threshold at which none of its frames misses more than a share `miss` of
           the lesion's pixels. The (k+1)-th smallest of n levels is one that a new group reaches with a probability of
           which Beta(n - k, k + 1) is a lower bound; with confidence at least `coverage` of new groups reach it where
           P(Binomial(n, 1 - coverage) <= k) <= 1 - confidence. Ties are on the safe side.
           Source: order statistics as tolerance limits (Wilks, 1941).
`average`  The highest threshold t with (n R(t) + 1) / (n + 1) <= miss, where R(t) is the mean over groups of the mean
           over a group's frames of the share missed. Then the expected share that a new group misses is at most `miss`.
           Source: conformal risk control (Angelopoulos et al., 2022, arXiv 2208.02814).

Thresholds lie on a grid (`THRESHOLDS`) that was fixed before any data was seen: steps of 2 % from `MIN_THRESHOLD` to
0.5, where the wide contour is the mask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import SyndiffError, shown

MIN_THRESHOLD = 0.01
"""The lowest threshold of a wide contour. A lesion that the model scores near zero would need one so low that it takes
in plain background, in the end the whole frame: a true sentence, and of no use to anybody. The compact segmenter gives
plain background 0.002 to 0.006 (measured: results/guarantee.md). It is 33 times `ENGINE_TOLERANCE`."""

ENGINE_TOLERANCE = 3e-4
"""How far probabilities of two engines (torch, ONNX Runtime) may lie apart; a pixel that one of them could miss counts
as missed. The greatest difference on 100 frames was 0.00017 (results/inference.md); `export` refuses a graph beyond."""

_GRID = [float(f"{value:.3g}") for value in np.geomspace(MIN_THRESHOLD, 0.5, 201)]
THRESHOLDS: NDArray[np.float32] = np.array(_GRID, np.float32)
_SAFE: NDArray[np.float32] = (np.array(_GRID) + ENGINE_TOLERANCE).astype(np.float32)


@dataclass(frozen=True)
class Goal:
    """What is to be guaranteed: at most a share `miss` of the lesion's pixels, in most new groups or on average.

    coverage, confidence: at least this share of new groups, with this confidence; both None on average.
    class_name: which of several classes has the pixels; None for a lesion.

    Raises SyndiffError for values that are no such shares.
    """

    miss: float
    coverage: float | None = None
    confidence: float | None = None
    class_name: str | None = None

    def __post_init__(self) -> None:
        if (self.coverage is None) != (self.confidence is None):
            raise SyndiffError("coverage and confidence belong together: give both, or none for the average.")
        for name in ("miss", "coverage", "confidence"):
            value = getattr(self, name)
            inside = value is None or (0 < value < 1) or (value == 0 and name == "miss" and not self.on_average)
            if not inside:
                low = "at least 0" if name == "miss" and not self.on_average else "above 0"
                raise SyndiffError(f"--{name} is {shown(value)}; expected a share {low} and below 1, such as 0.1.")

    @property
    def on_average(self) -> bool:
        """Whether the statement is on the mean over groups."""
        return self.coverage is None


@dataclass(frozen=True)
class FrameCurve:
    """What the wide contour of one frame does at each of the `THRESHOLDS` (201,).

    pixels, lesion: pixels of the frame and of its lesion.
    missed: pixels of the lesion that it may miss, with any engine; never falls with the threshold.
    area: its pixels; never grows with the threshold. The last one is the area of the mask.
    """

    case: str
    group: str
    pixels: int
    lesion: int
    missed: NDArray[np.int32]
    area: NDArray[np.int32]


@dataclass(frozen=True)
class Choice:
    """The threshold that a goal allows, an index `level` of `THRESHOLDS`, and how wide it is on the frames given.

    groups: groups with a lesion; others set no limit and do not count. failures: how many of them may fail, None on
    average. extra_of_frame, extra_of_mask: see `Calibration`.
    """

    level: int
    threshold: float
    groups: int
    failures: int | None
    extra_of_frame: float
    extra_of_mask: float | None


def frame_curve(
    probability_hw: NDArray[np.float32],
    lesion_hw: NDArray[np.bool_],
    *,
    case: str,
    group: str,
    mask_hw: NDArray[np.bool_] | None = None,
) -> FrameCurve:
    """The curve of one frame: its probabilities in [0, 1] and its annotation, both HxW, at the image's own size.

    `mask_hw` is the predicted mask where that is more than what is above 0.5: of one of several classes that exclude
    each other. The wide contour holds it, but what is missed is counted by the probability alone: the mask of another
    engine may be another one.
    """
    assert probability_hw.shape == lesion_hw.shape and probability_hw.dtype == np.float32
    lesion = probability_hw[lesion_hw]
    missed = lesion.size - _above(lesion, _SAFE)
    beyond = probability_hw.ravel() if mask_hw is None else probability_hw[~mask_hw]
    area = _above(beyond, THRESHOLDS) + np.int32(probability_hw.size - beyond.size)
    return FrameCurve(case, group, probability_hw.size, lesion.size, missed, area)


def _above(values: NDArray[np.float32], thresholds: NDArray[np.float32]) -> NDArray[np.int32]:
    """How many values are greater than each of the ascending thresholds."""
    between = values[(values > thresholds[0]) & (values <= thresholds[-1])]
    counts = np.bincount(np.searchsorted(thresholds, between, side="left"), minlength=len(thresholds))
    more = counts[::-1].cumsum()[::-1] - counts
    return (np.count_nonzero(values > thresholds[-1]) + more).astype(np.int32)


def frame_level(frame: FrameCurve, miss: float) -> int:
    """Index of the highest threshold at which a frame misses at most a share `miss` of its lesion; -1 for none."""
    allowed = math.floor(Fraction(str(miss)) * frame.lesion)  # the share as it was written, not as a float rounds it
    return int(np.searchsorted(frame.missed, allowed, side="right")) - 1


def group_levels(frames: Sequence[FrameCurve], miss: float) -> dict[str, int]:
    """The lowest `frame_level` of each group; groups without a lesion set no limit and are left out."""
    levels: dict[str, int] = {}
    for frame in frames:
        if frame.lesion:
            levels[frame.group] = min(frame_level(frame, miss), levels.get(frame.group, len(THRESHOLDS) - 1))
    return levels


def group_losses(frames: Sequence[FrameCurve]) -> NDArray[np.float64]:
    """Mean share of the lesion missed over the frames with a lesion of each group (groups, thresholds)."""
    shares: dict[str, list[NDArray[np.float64]]] = {}
    for frame in frames:
        if frame.lesion:
            shares.setdefault(frame.group, []).append(frame.missed / frame.lesion)
    return np.array([np.mean(each, axis=0) for each in shares.values()]).reshape(-1, len(THRESHOLDS))


def allowed_failures(groups: int, *, coverage: float, confidence: float) -> int | None:
    """How many of `groups` may fail for coverage with confidence: the largest k; None where even 0 are too many."""
    cumulated, failures = 0.0, None
    for k in range(groups + 1):
        cumulated += _binomial(k, groups, 1 - coverage)
        if cumulated > 1 - confidence:
            break
        failures = k
    return failures


def groups_needed(*, coverage: float, confidence: float, failures: int = 0) -> int:
    """The least number of groups of which `failures` may fail: 22, 38, 52, 65 for 0 to 3 at 0.9 and 0.9."""
    groups = failures + 1
    while sum(_binomial(k, groups, 1 - coverage) for k in range(failures + 1)) > 1 - confidence:
        groups += 1
    return groups


def groups_needed_on_average(miss: float) -> int:
    """The least number of groups for the average: n >= 1 / miss - 1."""
    return max(1, math.ceil(1 / Fraction(str(miss)) - 1))


def check_enough(groups: int, goal: Goal) -> None:
    """Raise SyndiffError, with what the groups do allow, where there are fewer groups with a lesion than it takes."""
    if goal.coverage is None or goal.confidence is None:
        needed, said = groups_needed_on_average(goal.miss), f"to bound the average share missed by {goal.miss:g}"
    else:
        needed = groups_needed(coverage=goal.coverage, confidence=goal.confidence)
        said = (
            f"to say with {100 * goal.confidence:.6g} % confidence that at least {100 * goal.coverage:.6g} % of new "
            "patients are covered"
        )
    if groups >= needed:
        return
    sought = goal.class_name or "a lesion"
    there = "1 patient (group)" if groups == 1 else f"{groups} patients (groups)"
    found = f"These cases come from {there} with {sought}; {needed} are needed {said}."
    if not groups:
        raise SyndiffError(f"{found} Take cases with {sought}.")
    least = math.ceil(Fraction(1000, groups + 1)) / 1000
    if goal.on_average:
        mend = f"or a larger share: --miss {least:g} is the least that {groups} allow"
    else:
        miss = max(goal.miss, least)
        mend = f"or make the weaker statement on the average that {groups} allow at best: --average --miss {miss:g}"
    raise SyndiffError(f"{found} Take cases of more patients, {mend}.")


def choose(frames: Sequence[FrameCurve], goal: Goal) -> Choice:
    """The highest threshold that the goal allows, from frames of groups that the model has never met.

    Raises SyndiffError where there are too few groups (`check_enough`), and where it would be below `MIN_THRESHOLD`.
    """
    levels = group_levels(frames, goal.miss)
    check_enough(len(levels), goal)
    failures = None
    if goal.coverage is None or goal.confidence is None:
        level = level_on_average(group_losses(frames), goal.miss)
    else:
        failures = allowed_failures(len(levels), coverage=goal.coverage, confidence=goal.confidence)
        assert failures is not None
        level = level_of_groups(list(levels.values()), failures)
    if level < 0:
        raise _too_wide(frames, goal, levels, failures)
    extra = [int(frame.area[level]) - int(frame.area[-1]) for frame in frames]
    mask = sum(int(frame.area[-1]) for frame in frames)
    return Choice(
        level=level,
        threshold=_GRID[level],
        groups=len(levels),
        failures=failures,
        extra_of_frame=float(np.mean([each / frame.pixels for each, frame in zip(extra, frames, strict=True)])),
        extra_of_mask=sum(extra) / mask if mask else None,
    )


def level_of_groups(levels: Sequence[int] | NDArray[np.int64], failures: int) -> int:
    """The level that all groups but `failures` reach: the (failures + 1)-th smallest."""
    return int(np.sort(levels)[failures])


def level_on_average(losses_gt: NDArray[np.float64], miss: float) -> int:
    """The highest level that conformal risk control allows for these `group_losses`; -1 for none."""
    bound = (losses_gt.sum(0) + 1) / (len(losses_gt) + 1)  # never falls with the threshold
    return int(np.searchsorted(bound, miss + 1e-12, side="right")) - 1  # 1e-12: sums of floats


def _binomial(k: int, n: int, share: float) -> float:
    """P(Binomial(n, share) = k); in logarithms, since powers of many groups leave the range of floats."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(share) + (n - k) * math.log1p(-share))


def _too_wide(frames: Sequence[FrameCurve], goal: Goal, levels: dict[str, int], failures: int | None) -> SyndiffError:
    """Why no wide contour is offered: the model scores too many lesions near zero."""
    lesion = goal.class_name or "the lesion"
    if failures is None:
        losses = group_losses(frames)[:, 0]
        allowed = max(0.0, (len(losses) + 1) * goal.miss - 1) / len(losses)
        found = f"{100 * losses.mean():.3g} % of {lesion} on average, where {100 * allowed:.3g} % are allowed"
        worst = max((frame for frame in frames if frame.lesion), key=lambda frame: frame.missed[0] / frame.lesion).case
    else:
        failed = sum(level < 0 for level in levels.values())
        found = (
            f"more than {100 * goal.miss:.6g} % of {lesion} in {failed} of {len(levels)} patients, where {failures} "
            "are allowed"
        )
        worst = min(frame.case for frame in frames if frame.lesion and frame_level(frame, goal.miss) < 0)
    more = "take cases of more patients, or promise less: a larger --miss"
    mend = f"{more}, or a smaller --coverage" if failures is not None else more
    return SyndiffError(
        "No wide contour can keep this promise: even one that takes in every pixel with a probability above "
        f"{MIN_THRESHOLD:g} misses {found} (such as case {worst}). A lower threshold takes in plain background. Look "
        f"at these cases, whether they are annotated rightly; else train a better model, {mend}."
    )
