"""How often the intervals of the product hold the truth, and how often chance alone is called a difference.

    python benchmarks/interval_coverage.py --kind scores --draws 4000 --seed 2 --out results/intervals/scores.json
    python benchmarks/interval_coverage.py --kind differences --seed 1 --out results/intervals/differences.json
    python benchmarks/interval_coverage.py --kind distances --seed 1 --out results/intervals/distances.json

Test sets are drawn again and again from groups (videos, patients) whose true mean over cases is known. A group has its
own difficulty, its frames scatter around it; the harder a frame, the more often its lesion is missed, with Dice 0 and
HD95 the diagonal. Two or three models see the same frames. Counted is how many intervals hold the truth: of scores
`share_interval`, beside it the same without the half case that was not seen; of differences `t_interval`; of a mean
HD95, which has none in the product, the t interval on the log scale. Where models do not differ, it is counted how
often a difference is called all the same: by the sign-flip test alone, by it and the interval together, as in the
report's verdict, and by that verdict on any of three comparisons, with p-values adjusted by `holm`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from syndiff.evaluation.intervals import share_interval, t_interval
from syndiff.evaluation.statistics import holm, paired_difference
from syndiff.files import write_json
from syndiff.training.run_folder import environment

Floats = NDArray[np.float64]
Draw = Callable[[int, np.random.Generator], NDArray[np.int64]]
"""The number of frames of each of so many groups."""

DIAGONAL = 480.0
"""Pixels; the HD95 of a missed lesion."""
ALARM_GROUPS = 6
"""Below, the sign-flip test can find nothing at .05."""
POPULATION = 200_000
"""Groups from which the truth is computed."""


def sequences(groups: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """As in CVC-ClinicDB: 6 to 25 frames."""
    return rng.integers(6, 26, groups)


def videos(groups: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Mostly few frames, at times 60."""
    return np.clip(rng.geometric(0.05, groups), 1, 60)


def few_frames(groups: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One to three images of each patient."""
    return rng.integers(1, 4, groups)


def single(groups: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One image of each patient, as in Kvasir-SEG."""
    return np.ones(groups, np.int64)


@dataclass(frozen=True)
class World:
    """Where test sets come from.

    kind: dice, recall (nearer to 1) or hd95. frames: of a group. spread: the difficulty of groups, on the logit scale.
    rare: how much rarer misses are, on that scale. long: how much harder groups of more frames are. models: `alike`
    ones are interchangeable; of `unlike` ones the first is better where it finds a lesion and misses more, so that
    differences are skewed.
    """

    kind: str
    frames: Draw
    spread: float = 1.0
    rare: float = 0.0
    long: float = 0.0
    models: str = "alike"

    def test_set(self, groups: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], list[Floats]]:
        """The group of each frame, and the score of three models there."""
        frames = self.frames(groups, rng)
        group = np.repeat(np.arange(groups), frames)
        ease = rng.normal(2.3, self.spread, groups) - self.long * (np.log(frames) - 2.5)
        frame = ease[group] + rng.normal(0, 0.7, len(group))
        found = []
        for model in range(3):
            own = rng.normal(0, 0.3, groups)[group] + rng.normal(0, 0.4, len(group))
            other = 0.25 if self.models == "unlike" and model == 0 else 0.0
            missed = rng.random(len(group)) < expit(-2.5 * (frame + own - 2 * other) - self.rare)
            if self.kind == "hd95":
                score = np.minimum(np.exp(4.2 - 0.6 * (frame + own)), DIAGONAL)
                score[missed] = DIAGONAL
            else:
                score = expit((2 if self.kind == "recall" else 1) * (frame + own + other))
                score[missed] = 0
            found.append(score)
        return group, found


SCORES = {
    "Dice, sequences": World("dice", sequences),
    "Dice, sequences, hard ones among them": World("dice", sequences, spread=1.5),
    "Dice, sequences, misses rare": World("dice", sequences, rare=2.5),
    "Recall, sequences": World("recall", sequences),
    "Dice, videos": World("dice", videos),
    "Dice, videos, long ones harder": World("dice", videos, long=0.7),
    "Dice, one to three images": World("dice", few_frames),
    "Dice, single images": World("dice", single),
    "Dice, single images, misses rare": World("dice", single, rare=2.5),
}
DIFFERENCES = {
    "sequences": World("dice", sequences),
    "videos": World("dice", videos),
    "single images": World("dice", single),
    "sequences, unlike models": World("dice", sequences, models="unlike"),
    "videos, unlike models": World("dice", videos, models="unlike"),
    "single images, unlike models": World("dice", single, models="unlike"),
}
DISTANCES = {
    "HD95, sequences": World("hd95", sequences, models="unlike"),
    "HD95, sequences, misses rare": World("hd95", sequences, rare=2.5, models="unlike"),
    "HD95, videos": World("hd95", videos, models="unlike"),
    "HD95, single images": World("hd95", single, models="unlike"),
    "HD95, single images, misses rare": World("hd95", single, rare=2.5, models="unlike"),
}


def share(successes: int, number: int) -> dict[str, float]:
    """A share with its 95 % interval (Clopper and Pearson)."""
    interval = stats.binomtest(successes, number).proportion_ci(0.95)
    return {"share": successes / number, "low": float(interval.low), "high": float(interval.high)}


def sums_of(score: Floats, group: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Sum and number of the cases of each group."""
    return np.bincount(group, score), np.bincount(group).astype(np.float64)


def log_interval(sums: Floats, counts: Floats) -> tuple[float, float]:
    """The t interval of a mean distance, on the log scale."""
    mean, (low, _) = sums.sum() / counts.sum(), t_interval(sums, counts, 0.95)
    width = (mean - low) / mean
    return float(mean * np.exp(-width)), float(mean * np.exp(width))


def simulate(world: World, truths: list[float], groups: int, options: argparse.Namespace) -> dict[str, Any]:
    """How often intervals over `groups` groups hold the truth, and false alarms where Dice is compared."""
    held: dict[str, int] = {}
    widths: dict[str, list[float]] = {}
    alarms = dict.fromkeys(("p_value", "verdict", "family_of_three"), 0)
    for number in range(options.draws):
        rng = np.random.default_rng([options.seed, groups, number])
        group, (first, second, third) = world.test_set(groups, rng)
        score, difference = truths[0], truths[0] - truths[1]
        if options.kind == "scores":
            table = sums_of(first, group)
            bounds = {"score": share_interval(*table, 0.95), "without_half_case": share_interval(*table, 0.95, 0.0)}
        else:
            bounds = {"difference": t_interval(*sums_of(first - second, group), 0.95)}
        if options.kind == "distances":
            bounds["mean"] = log_interval(*sums_of(first, group))
        for name, (low, high) in bounds.items():
            held[name] = held.get(name, 0) + (low <= (difference if name == "difference" else score) <= high)
            widths.setdefault(name, []).append(high - low)
        if options.kind == "differences" and groups >= ALARM_GROUPS:
            # without `difference` added the models are unequal in the mean, and no alarm would be false
            pairs = [(first, second + difference), (second, third), (first, third + difference)]
            for name, called in alarms_of(pairs, list(map(str, group)), options.resamples, number).items():
                alarms[name] += called
    answer: dict[str, Any] = {
        "groups": groups,
        "coverage": {name: share(count, options.draws) for name, count in held.items()},
        "median_width": {name: float(np.median(found)) for name, found in widths.items()},
    }
    if options.kind == "differences" and groups >= ALARM_GROUPS:
        answer["false_alarms"] = {name: share(count, options.draws) for name, count in alarms.items()}
    return answer


def alarms_of(pairs: list[tuple[Floats, Floats]], names: list[str], resamples: int, seed: int) -> dict[str, bool]:
    """Whether the first pair is called different by its p-value and by the verdict, and any pair by Holm's rule."""
    found = [paired_difference(a.tolist(), b.tolist(), names, resamples=resamples, seed=seed) for a, b in pairs]
    p_values = [each.p_value for each in found]
    told = [not (each.low or 0) <= 0 <= (each.high or 0) for each in found]
    alone = p_values[0] is not None and p_values[0] <= 0.05
    adjusted = zip(told, holm(p_values), strict=True)
    family = any(excluded and value is not None and value <= 0.05 for excluded, value in adjusted)
    return {"p_value": alone, "verdict": told[0] and alone, "family_of_three": family}


def main() -> None:
    """Simulate every world of a kind, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("scores", "differences", "distances"), required=True)
    parser.add_argument("--groups", type=int, nargs="+", default=[3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 120])
    parser.add_argument("--draws", type=int, default=2000, help="test sets of each kind and number of groups")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    result: dict[str, Any] = {"environment": environment(), "options": {**vars(options), "out": None}, "worlds": {}}
    worlds = {"scores": SCORES, "differences": DIFFERENCES, "distances": DISTANCES}[options.kind]
    for name, world in worlds.items():
        _, population = world.test_set(POPULATION, np.random.default_rng([options.seed, 0]))
        truths = [float(score.mean()) for score in population]
        result["worlds"][name] = {"truths": truths, "found": []}
        for groups in options.groups:
            found = simulate(world, truths, groups, options)
            result["worlds"][name]["found"].append(found)
            shares = {**found["coverage"], **found.get("false_alarms", {})}
            text = ", ".join(f"{kind} {100 * value['share']:.1f}" for kind, value in shares.items())
            width = next(iter(found["median_width"].values()))
            print(f"{name}, {groups} groups: {text}; width {width:.3f}", flush=True)
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
