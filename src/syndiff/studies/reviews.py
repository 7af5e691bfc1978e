"""Does what reviewers say come back? A scripted reviewer with a known rule, over several rounds of synthesis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage, stats

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.masks import components, without_specks
from syndiff.data.readers import to_unit
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import p_words
from syndiff.pipeline.adaptation import adapt
from syndiff.pipeline.synthesis import synthesize
from syndiff.reviews.events import Subjects
from syndiff.reviews.state import reviews_of
from syndiff.reviews.store import ReviewStore
from syndiff.studies.choices import Rule
from syndiff.studies.figures import draw_interval
from syndiff.studies.grid import Cell, Conclusion, Findings, Outcome
from syndiff.studies.shared import once
from syndiff.studies.words import ALPHA
from syndiff.synthesis.gates.acceptance import Acceptance
from syndiff.synthesis.manifest import SynthesisFolder, read_manifest

REVIEWER = "script"
_RING = 12  # pixels around a lesion that it is compared with
_FLOOR = 1e-4
_UNHEARD = 1000  # added to the seed, so that the rounds that are compared share no sample


@dataclass(frozen=True)
class Round:
    """How many samples of a round passed the gates, how many attempts that took, how many the reviewer accepts."""

    attempts: int
    shown: int
    accepted: int

    @property
    def share(self) -> tuple[float, float, float] | None:
        """The accepted share and its exact 95 % interval; None where nothing passed."""
        if not self.shown:
            return None
        found = stats.binomtest(self.accepted, self.shown).proportion_ci(0.95, method="exact")
        return self.accepted / self.shown, float(found.low), float(found.high)


def sharp(image: NDArray[np.float32], lesion: NDArray[np.bool_], ring: NDArray[np.bool_]) -> float:
    """Mean absolute Laplacian of the light inside a lesion against that of the ring: log ratio."""
    detail = np.abs(ndimage.laplace(image.mean(axis=2)))
    return float(np.log((detail[lesion].mean() + _FLOOR) / (detail[ring].mean() + _FLOOR)))


def red(image: NDArray[np.float32], lesion: NDArray[np.bool_], ring: NDArray[np.bool_]) -> float:
    """Red against green inside a lesion, against that of the ring: log ratio of ratios."""
    inside, around = (image[where].mean(axis=0) + 0.05 for where in (lesion, ring))
    return float(np.log(inside[0] / inside[1]) - np.log(around[0] / around[1]))


_MEASURES: dict[Rule, Callable[..., float]] = {"blurred": sharp, "colour": red}


@dataclass(frozen=True)
class Script:
    """A reviewer who rejects what real training lesions hardly are: `real` are their measures, sorted.

    blurred: less sharp than all but a quarter of them. colour: outside the middle four fifths of them.
    """

    rule: Rule
    real: NDArray[np.float64]

    @classmethod
    def learn(cls, rule: Rule, dataset: Dataset, split: Split) -> "Script":
        """Measure the real lesions of the training cases. Raises SyndiffError for fewer than four."""
        found = [value for case in split.train for value in measures(rule, dataset, case)]
        if len(found) < 4:
            raise SyndiffError(
                f"{dataset.root} has {len(found)} training lesions that can be measured; four are needed."
            )
        return cls(rule, np.sort(found))

    def judge(self, value: float) -> tuple[bool, int]:
        """Whether a lesion of this measure is accepted, and its rating, 1 to 5: how usual it is among real ones."""
        rank = float(np.searchsorted(self.real, value, "right") / len(self.real))
        if self.rule == "blurred":
            return rank >= 0.25, 1 + min(4, int(5 * rank))
        aside = min(rank, 1 - rank)
        return aside >= 0.1, 1 + min(4, int(10 * aside))


def measures(rule: Rule, dataset: Dataset, case_id: str, own: NDArray[np.bool_] | None = None) -> list[float]:
    """What the reviewer looks at, for each lesion of a case; `own` (HxW) are lesions that are none of its business."""
    pixels, mask = dataset.load(dataset[case_id])
    added = mask if own is None or (own & ~mask).any() else mask & ~own  # the frame's own were painted over, or kept
    image, (labels, areas) = to_unit(pixels), components(added)
    found = []
    for label in without_specks(areas):
        lesion = labels == label
        ring = ndimage.binary_dilation(lesion, iterations=_RING) & ~ndimage.binary_dilation(mask, iterations=2)
        if ring.any():
            found.append(_MEASURES[rule](image, lesion, ring))
    return found


@dataclass(frozen=True)
class Teaching:
    """The shared step that teaches a compact inpainter what the rounds before `number` said."""

    round: "Reviewing"
    study: Path
    name: str

    def decides(self) -> dict[str, Any]:
        """What its round is decided by."""
        return self.round.decides()

    def make(self, folder: Path, *, progress: bool) -> None:
        """Adapt, or go on."""
        this = self.round
        given = this.given()
        adapt(this.data, folder, split=this.split, settings=this.plain(), seed=this.seed, progress=progress, **given)


@dataclass(frozen=True)
class Reviewing:
    """A cell, and a shared step of later ones: the samples of round `number`, made and reviewed.

    hears: what was reviewed in all earlier rounds draws the gates' bounds closer, and teaches a compact inpainter anew
    by its ratings. Rounds that hear nothing are of other samples, made by the first round's inpainter.
    """

    study: Path
    data: Path
    settings: Settings
    split: Split
    rule: Rule
    count: int
    seed: int
    number: int
    hears: bool

    @property
    def name(self) -> str:
        """Its folder in the study's."""
        return f"round-{self.number}{'' if self.hears or self.number == 1 else '-unheard'}"

    def decides(self) -> dict[str, Any]:
        """Settings, cases, the rule, and which round it is."""
        recorded = self.settings.recorded()
        used = {section: recorded[section] for section in ("synthesis", "gates", "compact", "inpainter", "adapt")}
        asked = {"rule": self.rule, "count": self.count, "seed": self.seed, "number": self.number, "hears": self.hears}
        return {**used, "split": self.split.hash, **asked}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Make the samples and review them, or take those that are there."""
        once(self, progress=progress, own=True)
        account, accepted = Acceptance.of(SynthesisFolder(folder)), self._accepted(folder)
        told = f"{accepted} of {account.accepted} samples accepted by the script"
        found = Round(account.attempts, account.accepted, accepted)
        script = Script.learn(self.rule, Dataset.open(self.data), self.split)
        return Outcome({**asdict(found), "told": told, "real_lesions": len(script.real)})

    def make(self, folder: Path, *, progress: bool) -> None:
        """Make what it hears, then the samples; review them."""
        for earlier in self.said():
            once(earlier, progress=progress)
        settings = self.plain()
        if settings.synthesis.inpainter == "compact":
            taught = self if self.hears else replace(self, number=1, hears=True)
            step = Teaching(taught, self.study, f"inpainter-{taught.number}")
            model = str(once(step, progress=progress))
            settings = replace(settings, synthesis=replace(settings.synthesis, model=model))
        summary = synthesize(
            self.data,
            folder,
            count=self.count,
            split=self.split,
            settings=settings,
            seed=self.seed + self.number - 1 + (0 if self.hears else _UNHEARD),
            progress=progress,
            **self.given(),
        )
        if summary.accepted:
            self._review(folder)

    def said(self) -> list["Reviewing"]:
        """The rounds that it hears."""
        return [replace(self, number=earlier) for earlier in range(1, self.number)] if self.hears else []

    def given(self) -> dict[str, Any]:
        """Their reviews and samples, as `synthesize` and `adapt` take them."""
        said = [self.study / earlier.name for earlier in self.said()]
        return {"reviews": self.study / "reviews.db", "reviewed": said} if said else {}

    def plain(self) -> Settings:
        """The settings, with the gates on."""
        return replace(self.settings, gates=replace(self.settings.gates, mode="on"), chosen=frozenset())

    def _judged(self, folder: Path) -> Iterator[tuple[str, bool, int]]:
        """Each sample's id, whether the script accepts it, and its rating."""
        dataset, painted = Dataset.open(self.data), Dataset.open(folder)
        script = Script.learn(self.rule, dataset, self.split)
        sources = {each.id: str(each.source_case) for each in read_manifest(folder / "manifest.jsonl")}
        for case in painted.cases:
            _, own = dataset.load(dataset[sources[case.id]])
            values = measures(self.rule, painted, case.id, own)
            judged = [script.judge(value) for value in values] or [(True, 3)]  # nothing to be compared with
            yield case.id, all(each for each, _ in judged), min(rating for _, rating in judged)

    def _accepted(self, folder: Path) -> int:
        return sum(good for _, good, _ in self._judged(folder)) if (folder / "dataset.json").is_file() else 0

    def _review(self, folder: Path) -> None:
        """Review the samples that were not reviewed yet."""
        subjects = Subjects(Dataset.open(folder))
        with ReviewStore(self.study / "reviews.db") as store:
            there = reviews_of(subjects.dataset, store.events())
            for case, good, rating in self._judged(folder):
                if case not in there:
                    subject = subjects[case]
                    store.add(REVIEWER, subject, "rate", str(rating))
                    store.add(REVIEWER, subject, *(("accept",) if good else ("reject", self.rule)))


def cells(first: Reviewing, rounds: int) -> list[Cell]:
    """The rounds that hear, and beside each but the first one that does not."""
    found = [replace(first, number=number, hears=hears) for number in range(1, rounds + 1) for hears in (True, False)]
    return [
        Cell(f"round {each.number}", "0", each.name, each, kind="heard" if each.hears else "not heard")
        for each in found
        if each.hears or each.number > 1
    ]


def conclude(found: Findings, about: Mapping[str, Any], *, seed: int) -> Conclusion:
    """What the script accepts in each round, where its reviews were heard and where not."""
    names = [item.name for item in fields(Round)]
    rounds = {
        side: [Round(**{name: out.scores[name] for name in names}) for out in found.of(kind=side)]
        for side in ("heard", "not heard")
    }
    heard, unheard = rounds["heard"], [rounds["heard"][0], *rounds["not heard"]]
    content = _content(heard, unheard) | {"real_lesions": next(iter(found))[1].scores["real_lesions"]}
    content |= {"study": {**about, "seed": seed}}
    return Conclusion(
        _table(heard, unheard, content["p_value"]), _words(heard, unheard, content["p_value"]), content, _draw(rounds)
    )


def _words(heard: Sequence[Round], unheard: Sequence[Round], p_value: float) -> str:
    """Whether what was reviewed came back."""
    ours, theirs = heard[-1], unheard[-1]
    if ours.share is None or theirs.share is None:
        return "In the last round no sample passed the gates, so nothing can be compared."
    shares = f"{_share(ours)} against {_share(theirs)}"
    if p_value > ALPHA:
        return f"That the reviews come back could not be shown in the last round: {shares}, {p_words(p_value)}."
    how = "more" if ours.share[0] > theirs.share[0] else "less"
    return f"Once its reviews were heard, the script accepts {how}: {shares}, {p_words(p_value)}."


def _draw(rounds: Mapping[str, Sequence[Round]]) -> Figure:
    """The accepted share of each round."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for index, (name, some) in enumerate(rounds.items()):
        first = 1 if name == "heard" else 2
        for number, each in enumerate(some, first):
            mean, low, high = each.share or (None, None, None)
            found = {"mean": mean, "low": low, "high": high}
            draw_interval(axes, found, number + 0.06 * index, colour=f"C{index}")
        axes.plot([], [], "o", color=f"C{index}", label=name)
    axes.set(xlabel="round", ylabel="share that the script accepts", ylim=(0, 1))
    axes.set_xticks(range(1, 1 + len(rounds["heard"])))
    axes.legend()
    return figure


def _content(heard: Sequence[Round], unheard: Sequence[Round]) -> dict[str, Any]:
    """Figures for reviews.json; the p-value is Fisher's exact one, two-sided, of the last round against its pair."""
    last = np.array([[each.accepted, each.shown - each.accepted] for each in (heard[-1], unheard[-1])])
    rows = {
        name: [asdict(each) | {"share": each.share} for each in some]
        for name, some in (("heard", heard), ("unheard", unheard))
    }
    return {**rows, "p_value": float(stats.fisher_exact(last).pvalue)}


def _table(heard: Sequence[Round], unheard: Sequence[Round], p_value: float) -> str:
    lines = ["| round | accepted, reviews heard | attempts | accepted, not heard | attempts |", "|---" * 5 + "|"]
    for number, (ours, theirs) in enumerate(zip(heard, unheard, strict=True), 1):
        other = f"{_share(theirs)} | {theirs.attempts}" if number > 1 else "the same | "
        lines.append(f"| {number} | {_share(ours)} | {ours.attempts} | {other} |")
    lines += ["", f"Last round, heard against not heard: {p_words(p_value)} (Fisher's exact test)."]
    return "\n".join(lines) + "\n"


def _share(found: Round) -> str:
    if found.share is None:
        return "no sample passed the gates"
    share, low, high = found.share
    return f"{found.accepted} of {found.shown}: {share:.0%} [{low:.0%}, {high:.0%}]"
