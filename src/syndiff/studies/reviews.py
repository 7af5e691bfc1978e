"""Does what reviewers say come back? A scripted reviewer with a known rule, over several rounds of synthesis."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.masks import components, without_specks
from syndiff.data.readers import to_unit
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.files import write_json, write_text
from syndiff.pipeline.adaptation import adapt
from syndiff.pipeline.splitting import stored_split
from syndiff.pipeline.synthesis import synthesize
from syndiff.reviews.events import Subjects
from syndiff.reviews.state import reviews_of
from syndiff.reviews.store import ReviewStore
from syndiff.studies.choices import Rule
from syndiff.synthesis.manifest import read_manifest
from syndiff.training.run_folder import open_run

REVIEWER = "script"
_RING = 12  # pixels around a lesion that it is compared with
_FLOOR = 1e-4
_UNHEARD = 1000  # added to the seed, so that the rounds that are compared share no sample
log = logging.getLogger("syndiff")


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


def reviews(
    data: Path, out: Path, settings: Settings, *, rule: Rule, rounds: int, count: int, seed: int, progress: bool = True
) -> str:
    """Synthesize `count` samples a round, have the script review them, and let the next round hear it; returns a table.

    What was reviewed in all earlier rounds draws the gates' bounds closer, and teaches a compact inpainter anew by its
    ratings. Beside each round stands one of other samples that hears nothing, made by the first round's inpainter.
    Writes reviews.json and reviews.md; what is finished is kept.

    Raises SyndiffError for fewer than two rounds, an inpainter that no review teaches, and settings without effect.
    """
    compact = settings.synthesis.inpainter == "compact"
    if rounds < 2 or count < 1:
        raise SyndiffError(f"--rounds {rounds} and --count {count}: expected 2 or more rounds of 1 or more samples.")
    if settings.synthesis.inpainter == "sdxl":
        raise SyndiffError("study reviews knows the inpainters compact and copy_paste; sdxl hears no review.")
    check_use(
        settings,
        "study reviews",
        None if compact else "study reviews without the inpainter compact",
        "study reviews while adapt.minutes is above 0" if compact and settings.adapt.minutes else None,
    )
    dataset = open_checked(data, progress=progress)
    split = stored_split(dataset, out / "split.json", method="auto", seed=seed)
    script = Script.learn(rule, dataset, split)
    about = {"rule": rule, "rounds": rounds, "count": count}
    open_run(out / "study", {"study": about, "data": str(data), "seed": seed, **settings.recorded()})
    split.write(out / "split.json")
    study = _Study(data, dataset, out, replace(settings, chosen=frozenset()), split, script, count, seed, progress)
    heard = [study.round(number, hears=True) for number in range(1, rounds + 1)]
    unheard = [heard[0], *(study.round(number, hears=False) for number in range(2, rounds + 1))]
    content = _content(script, heard, unheard) | {"study": about | {"seed": seed}}
    write_json(out / "reviews.json", content)
    table = _table(heard, unheard, content["p_value"])
    write_text(out / "reviews.md", table)
    return table


@dataclass(frozen=True)
class _Study:
    data: Path
    dataset: Dataset
    out: Path
    settings: Settings
    split: Split
    script: Script
    count: int
    seed: int
    progress: bool

    def folder(self, number: int, hears: bool) -> Path:
        return self.out / f"round-{number}{'' if hears or number == 1 else '-unheard'}"

    def round(self, number: int, *, hears: bool) -> Round:
        """Make the samples of a round and review them, or take those that are there."""
        folder = self.folder(number, hears)
        said = [self.folder(earlier, True) for earlier in range(1, number)] if hears else []
        given: dict[str, Any] = {"reviews": self.out / "reviews.db", "reviewed": said} if said else {}
        summary = synthesize(
            self.data,
            folder,
            count=self.count,
            split=self.split,
            settings=self._painting(number if hears else 1, given),
            seed=self.seed + number - 1 + (0 if hears else _UNHEARD),
            progress=self.progress,
            **given,
        )
        accepted = self._review(folder) if summary.accepted else 0
        found = Round(summary.attempts, summary.accepted, accepted)
        log.info(f"{folder.name}: {accepted} of {summary.accepted} samples accepted by the script")
        return found

    def _painting(self, number: int, given: dict[str, Any]) -> Settings:
        """The settings of a round, whose compact inpainter is taught first."""
        settings = replace(self.settings, gates=replace(self.settings.gates, mode="on"))
        if settings.synthesis.inpainter != "compact":
            return settings
        run = self.out / f"inpainter-{number}"
        adapt(self.data, run, split=self.split, settings=settings, seed=self.seed, progress=self.progress, **given)
        return replace(settings, synthesis=replace(settings.synthesis, model=str(run)))

    def _review(self, folder: Path) -> int:
        """Review the samples that were not reviewed yet; how many are accepted."""
        subjects, accepted = Subjects(Dataset.open(folder)), 0
        sources = {each.id: str(each.source_case) for each in read_manifest(folder / "manifest.jsonl")}
        with ReviewStore(self.out / "reviews.db") as store:
            there = reviews_of(subjects.dataset, store.events())
            for case in subjects.dataset.cases:
                _, own = self.dataset.load(self.dataset[sources[case.id]])
                values = measures(self.script.rule, subjects.dataset, case.id, own)
                judged = [self.script.judge(value) for value in values] or [(True, 3)]  # nothing to be compared with
                good, rating = all(each for each, _ in judged), min(rating for _, rating in judged)
                accepted += good
                if case.id not in there:
                    subject = subjects[case.id]
                    store.add(REVIEWER, subject, "rate", str(rating))
                    store.add(REVIEWER, subject, *(("accept",) if good else ("reject", self.script.rule)))
        return accepted


def _content(script: Script, heard: Sequence[Round], unheard: Sequence[Round]) -> dict[str, Any]:
    """Figures for reviews.json; the p-value is Fisher's exact one, two-sided, of the last round against its pair."""
    last = np.array([[each.accepted, each.shown - each.accepted] for each in (heard[-1], unheard[-1])])
    rows = {
        name: [asdict(each) | {"share": each.share} for each in some]
        for name, some in (("heard", heard), ("unheard", unheard))
    }
    return {**rows, "p_value": float(stats.fisher_exact(last).pvalue), "real_lesions": len(script.real)}


def _table(heard: Sequence[Round], unheard: Sequence[Round], p_value: float) -> str:
    lines = ["| round | accepted, reviews heard | attempts | accepted, not heard | attempts |", "|---" * 5 + "|"]
    for number, (ours, theirs) in enumerate(zip(heard, unheard, strict=True), 1):
        other = f"{_share(theirs)} | {theirs.attempts}" if number > 1 else "the same | "
        lines.append(f"| {number} | {_share(ours)} | {ours.attempts} | {other} |")
    return (
        "\n".join([*lines, "", f"Last round, heard against not heard: p = {p_value:.2g} (Fisher's exact test)."]) + "\n"
    )


def _share(found: Round) -> str:
    if found.share is None:
        return "no sample passed the gates"
    share, low, high = found.share
    return f"{found.accepted} of {found.shown}: {share:.0%} [{low:.0%}, {high:.0%}]"
