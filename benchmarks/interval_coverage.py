"""How often the intervals of the product hold the truth, and how often chance alone is called a difference.

    python benchmarks/interval_coverage.py --kind scores --out results/intervals/scores.json
    python benchmarks/interval_coverage.py --kind differences --out results/intervals/differences.json

Test sets are drawn again and again from groups (videos, patients) whose true mean is known. A group has its own
difficulty, its frames scatter around it; the harder a frame, the more often its lesion is missed, with Dice 0. Two or
three models see the same frames. Counted is how many intervals of `bootstrap_mean` and `paired_difference` hold the
truth, and, where models do not differ, how often a difference is called all the same: by the sign-flip test alone, by
it and the interval together, as in the report's verdict, and by that verdict on any of three comparisons, with p-values
adjusted by `holm`. Beside them stands another interval: for scores the t interval that differences have, for Dice on
the logit scale; for differences the bootstrap that scores have.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from syndiff.evaluation.statistics import bootstrap_mean, holm, paired_difference
from syndiff.files import write_json
from syndiff.training.run_folder import environment

Floats = NDArray[np.float64]
Draw = Callable[[int, np.random.Generator], NDArray[np.int64]]
"""The number of frames of each of so many groups."""

DIAGONAL = 480.0
"""Pixels; the HD95 of a missed lesion."""
POPULATION = 200_000
"""Groups from which the truth is computed."""


def sequences(groups: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """As in CVC-ClinicDB: 6 to 25 frames."""
    return rng.integers(6, 26, groups)


def videos(groups: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Mostly few frames, at times 60."""
    return np.clip(rng.geometric(0.05, groups), 1, 60)


def single(groups: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One image of each patient, as in Kvasir-SEG."""
    return np.ones(groups, np.int64)


@dataclass(frozen=True)
class World:
    """Where test sets come from.

    frames: of a group. spread: the difficulty of groups, on the logit scale. kind: a score, or a difference of two
    models; `alike` models are interchangeable, of `unlike` ones the first is better where it finds a lesion and misses
    more, so that differences are skewed.
    """

    kind: str
    frames: Draw
    spread: float = 1.0
    models: str = "alike"

    def test_set(self, groups: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], list[Floats]]:
        """The group of each frame, and the Dice (or HD95) of three models there."""
        group = np.repeat(np.arange(groups), self.frames(groups, rng))
        frame = rng.normal(2.3, self.spread, groups)[group] + rng.normal(0, 0.7, len(group))
        found = []
        for model in range(3):
            own = rng.normal(0, 0.3, groups)[group] + rng.normal(0, 0.4, len(group))
            other = 0.25 if self.models == "unlike" and model == 0 else 0.0
            missed = rng.random(len(group)) < expit(-2.5 * (frame + own - 2 * other))
            if self.kind == "hd95":
                score = np.minimum(np.exp(4.2 - 0.6 * (frame + own)), DIAGONAL)
                score[missed] = DIAGONAL
            else:
                score = expit(frame + own + other)
                score[missed] = 0
            found.append(score)
        return group, found


WORLDS = {
    "Dice, sequences": World("dice", sequences),
    "Dice, sequences, hard ones among them": World("dice", sequences, 1.5),
    "Dice, videos": World("dice", videos),
    "Dice, single images": World("dice", single),
    "HD95, sequences": World("hd95", sequences),
    "difference, sequences": World("difference", sequences),
    "difference, videos": World("difference", videos),
    "difference, single images": World("difference", single),
    "difference, sequences, unlike models": World("difference", sequences, 1.0, "unlike"),
    "difference, videos, unlike models": World("difference", videos, 1.0, "unlike"),
}


def t_interval(score: Floats, group: list[str], *, bounded: bool) -> tuple[float, float]:
    """The interval that a difference has, for a score; of one in [0, 1] on the logit scale."""
    found = paired_difference(score.tolist(), [0.0] * len(score), group, resamples=100)
    assert found.mean is not None and found.low is not None
    if not bounded or not 0 < found.mean < 1:
        return found.low, 2 * found.mean - found.low
    width = (found.mean - found.low) / (found.mean * (1 - found.mean))
    return float(expit(logit(found.mean) - width)), float(expit(logit(found.mean) + width))


def share(successes: int, number: int) -> dict[str, float]:
    """A share with its 95 % interval (Clopper and Pearson)."""
    interval = stats.binomtest(successes, number).proportion_ci(0.95)
    return {"share": successes / number, "low": float(interval.low), "high": float(interval.high)}


def true_mean(world: World, seed: int) -> float:
    """The score of the first model, or what it has over the second, in the whole population."""
    _, (first, second, _) = world.test_set(POPULATION, np.random.default_rng([seed, 0]))
    return float((first - second if world.kind == "difference" else first).mean())


def simulate(world: World, truth: float, groups: int, options: argparse.Namespace) -> dict[str, Any]:
    """The coverage of every kind of interval over `groups` groups, and false alarms where models are compared."""
    compared = world.kind == "difference"
    another = "bootstrap" if compared else "robust_t"
    held, widths = dict.fromkeys(("product", another), 0), []
    alone = verdict = family = 0
    for number in range(options.draws):
        rng = np.random.default_rng([options.seed, groups, number])
        group, (first, second, third) = world.test_set(groups, rng)
        names, setting = list(map(str, group)), {"resamples": options.resamples, "seed": number}
        if compared:
            # without `truth` added the models are unequal in the mean, and no alarm would be false
            pairs = [(first, second + truth), (second, third), (first, third + truth)]
            found = [paired_difference(a.tolist(), b.tolist(), names, **setting) for a, b in pairs]
            interval, middle = found[0], 0.0
            before = bootstrap_mean((first - second - truth).tolist(), names, **setting)
            other = before.low, before.high
            p_values = [each.p_value for each in found]
            alone += p_values[0] is not None and p_values[0] <= 0.05
            told = [not (each.low or 0) <= 0 <= (each.high or 0) for each in found]
            verdict += told[0] and p_values[0] is not None and p_values[0] <= 0.05
            adjusted = zip(told, holm(p_values), strict=True)
            family += any(excluded and value is not None and value <= 0.05 for excluded, value in adjusted)
        else:
            interval, middle = bootstrap_mean(first.tolist(), names, **setting), truth
            other = t_interval(first, names, bounded=world.kind == "dice")
        assert interval.low is not None and interval.high is not None
        bounds = {"product": (interval.low, interval.high), another: other}
        for name, (low, high) in bounds.items():
            held[name] += low - 1e-12 <= middle <= high + 1e-12
        widths.append([high - low for low, high in bounds.values()])
    answer: dict[str, Any] = {
        "groups": groups,
        "truth": truth,
        "coverage": {name: share(count, options.draws) for name, count in held.items()},
        "median_width": dict(zip(held, map(float, np.median(widths, 0)), strict=True)),
    }
    if compared:
        alarms = {"p_value": alone, "verdict": verdict, "family_of_three": family}
        answer["false_alarms"] = {name: share(count, options.draws) for name, count in alarms.items()}
    return answer


def main() -> None:
    """Simulate every world, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("scores", "differences"), required=True)
    parser.add_argument("--groups", type=int, nargs="+", default=[3, 4, 5, 6, 8, 10, 15, 20, 30, 60])
    parser.add_argument("--draws", type=int, default=1000, help="test sets of each kind and number of groups")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    result: dict[str, Any] = {"environment": environment(), "options": {**vars(options), "out": None}, "worlds": {}}
    for name, world in WORLDS.items():
        if (world.kind == "difference") != (options.kind == "differences"):
            continue
        result["worlds"][name], truth = [], true_mean(world, options.seed)
        for groups in options.groups:
            found = simulate(world, truth, groups, options)
            result["worlds"][name].append(found)
            shares = {**found["coverage"], **found.get("false_alarms", {})}
            text = ", ".join(f"{kind} {100 * value['share']:.1f}" for kind, value in shares.items())
            print(f"{name}, {groups} groups: {text}; width {found['median_width']['product']:.3f}", flush=True)
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
