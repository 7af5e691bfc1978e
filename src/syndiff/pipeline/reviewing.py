"""What reviewers said of cases acts on what learns from them: which are trained on, and with which masks.

Reviews open nothing: they choose among the training cases and the synthetic ones that the leak rules have let pass. A
review of a validation or a test case changes nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from syndiff.data.class_view import ClassView, seen_as
from syndiff.data.dataset import Dataset
from syndiff.data.seen import Seen
from syndiff.data.splits import Split
from syndiff.documents import digest
from syndiff.errors import SyndiffError
from syndiff.pipeline.provenance import check_synthetic_inpainter, datasets_behind, open_synthetic
from syndiff.reviews.correcting import Corrected
from syndiff.reviews.state import CaseReview, count_states, reviews_of
from syndiff.reviews.store import ReviewStore
from syndiff.synthesis.gates.reviewed import Reviewed
from syndiff.synthesis.manifest import read_manifest

FILE = "reviews.json"
"""In a run folder: the reviews that it was trained with."""
log = logging.getLogger("syndiff")
Source = tuple[Dataset, Sequence[str]]


@dataclass(frozen=True)
class Heeded:
    """The cases to train on once reviewers were heard, and what was heeded.

    real, synthetic: each case that a review acts on, with the SHA-256 of its corrected mask; None: the mask as it is.
    rejected, open: synthetic cases that are left out.
    """

    sources: list[Source]
    real: Mapping[str, str]
    synthetic: Mapping[str, str | None]
    rejected: int = 0
    open: int = 0

    @property
    def recorded(self) -> dict[str, Any]:
        """What config.yaml and model.json say: a hash over all that acts, and counts."""
        corrected = sum(mask is not None for mask in self.synthetic.values())
        return {
            "hash": digest([dict(self.real), dict(self.synthetic)]),
            "corrected_real": len(self.real),
            "accepted": len(self.synthetic) - corrected,
            "corrected": corrected,
            "rejected": self.rejected,
            "open": self.open,
        }

    def __str__(self) -> str:
        """In words."""
        told = f"reviews: {len(self.real)} training cases have a corrected mask"
        if not (self.synthetic or self.rejected or self.open):
            return told
        found = self.recorded
        return (
            f"{told}; of the synthetic cases {found['accepted']} accepted and {found['corrected']} corrected ones are "
            f"used, {self.rejected} rejected and {self.open} without a decision are left out"
        )


def heed(path: Path, sources: Sequence[Source]) -> Heeded:
    """Apply the file of reviews `path` to a training's sources: the real cases, then the synthetic ones, if any.

    Of the real cases all are kept, with corrected masks where there are any: a rejection does not remove what somebody
    annotated. Of the synthetic ones those that were accepted or corrected are.

    Raises SyndiffError for a damaged file, reviews that change nothing, and where no synthetic case is left.
    """
    (dataset, train), *added = sources
    with ReviewStore(path, read_only=True) as store:
        events = store.events()
        of_real = reviews_of(dataset, events)
        real = {case: _mask(of_real[case]) for case in sorted({*train} & of_real.keys())}
        masks = {case: mask for case, mask in real.items() if mask is not None}
        heeded = [_corrected(store, dataset, train, masks)]
        if not added:
            if not masks:
                raise SyndiffError(
                    f"{path} holds no corrected mask of a training case of {dataset.root}, and no synthetic cases are "
                    "given that it could choose from: the reviews would change nothing. Leave --reviews out, or give "
                    "--synthetic."
                )
            return Heeded(heeded, masks, {})
        folder, ids = added[0]
        reviews = reviews_of(folder, events)
        counts = count_states(reviews[case] for case in ids if case in reviews)
        kept = {
            case: _mask(reviews[case])
            for case in ids
            if case in reviews and reviews[case].state in ("accepted", "corrected")
        }
        if not kept:
            raise SyndiffError(
                f"{path} accepts no case of {folder.root} ({counts['rejected']} of {len(ids)} are rejected, the others "
                "have no decision), so that no synthetic case would be trained on. Review it, or leave --synthetic or "
                "--reviews out."
            )
        corrected = {case: mask for case, mask in kept.items() if mask is not None}
        heeded.append(_corrected(store, folder, [*kept], corrected))
    return Heeded(heeded, masks, kept, counts["rejected"], len(ids) - len(kept) - counts["rejected"])


def reviewed_samples(path: Path, folders: Sequence[Path], dataset: Dataset, split: Split) -> Reviewed:
    """The gate scores of the samples in synthetic folders that reviewers accepted or rejected, for the gates to heed.

    Samples whose mask was corrected are left out: their scores are those of another mask. Raises SyndiffError for a
    folder that was not made from the split's training cases alone, and unless samples of both kinds were scored.
    """
    said: dict[bool, list[tuple[str, Mapping[str, float | None]]]] = {True: [], False: []}
    with ReviewStore(path, read_only=True) as store:
        events = store.events()
    for folder in folders:
        synthetic = _open(folder, split, dataset)
        reviews = reviews_of(synthetic, events)
        for sample in read_manifest(folder / "manifest.jsonl"):
            review = reviews.get(sample.id) if sample.accepted else None
            if review and review.state in ("accepted", "rejected") and sample.gates:
                said[review.state == "accepted"].append((review.content, sample.gates))
    if not (said[True] and said[False]):
        raise SyndiffError(
            f"{path} tells of {len(said[True])} accepted and {len(said[False])} rejected samples of "
            f"{', '.join(map(str, folders))} whose gate scores are known; expected both kinds, so that the gates can "
            "tell them apart. Review more of them, or leave --reviews and --reviewed out."
        )
    good, bad = (sorted(said[kind], key=lambda each: each[0]) for kind in (True, False))
    identity = digest([[content for content, _ in each] for each in (good, bad)])
    return Reviewed([scores for _, scores in good], [scores for _, scores in bad], identity)


@dataclass(frozen=True)
class Rated:
    """Samples that reviewers rated, for an inpainter to learn from: each folder with the weight of its samples.

    `about` is what model.json says of them, `seen` which pictures stand behind them.
    """

    sources: list[tuple[Dataset, dict[str, float]]]
    about: Mapping[str, Any]
    seen: Seen

    def __str__(self) -> str:
        """In words."""
        return f"reviews: {self.about['samples']} rated samples, worth {self.about['weight']:g} real lesions"


def rated_samples(path: Path, folders: Sequence[Path], dataset: Dataset, split: Split) -> Rated:
    """The samples of synthetic folders by how real they look: rated 1 they weigh nothing, 5 as much as a real case.

    Of several ratings the mean counts. Rejected samples weigh nothing, corrected masks are used. All samples together
    weigh as much as the training cases at most, or the inpainter would learn from itself more than from them. Raises
    SyndiffError for a folder that was not made from the split's training cases alone, and where no sample is left.
    """
    sources, said, seen = [], [], Seen()
    behind: set[str] = set()
    with ReviewStore(path, read_only=True) as store:
        events = store.events()
        for folder in folders:
            synthetic = _open(folder, split, dataset)
            reviews = {
                case: review
                for case, review in reviews_of(synthetic, events).items()
                if review.rating is not None and review.rating > 1 and review.state != "rejected"
            }
            masks = {case: mask for case, review in reviews.items() if (mask := _mask(review)) is not None}
            # captions are measured anew: a prompt says what was asked for, not what is seen
            plain = replace(synthetic, cases=tuple(replace(case, caption=None) for case in synthetic.cases))
            corrected, _ = _corrected(store, plain, [*reviews], masks)
            weights = {case: ((each.rating or 1) - 1) / 4 for case, each in reviews.items()}
            sources.append((seen_as(corrected, dataset), weights))
            said += [[each.content, each.rating, masks.get(case)] for case, each in reviews.items()]
            behind |= datasets_behind(folder)
            seen |= Seen.read(folder)
    total = sum(sum(weights.values()) for _, weights in sources)
    if not total:
        raise SyndiffError(
            f"{path} rates no sample of {', '.join(map(str, folders))} above 1 that was not rejected; expected ratings "
            "from 2 to 5. Rate some, or leave --reviews and --reviewed out."
        )
    scale = min(1.0, len(split.train) / total)
    sources = [(folder, {case: weight * scale for case, weight in weights.items()}) for folder, weights in sources]
    about = {
        "hash": digest(sorted(said, key=str)),
        "samples": len(said),
        "weight": round(total * scale, 3),
        "learned_elsewhere": sorted(behind - {split.dataset, dataset.name}),
    }
    return Rated(sources, about, seen)


def both_given(reviews: Path | str | None, reviewed: Sequence[Path | str]) -> bool:
    """Whether reviews are to be heard. Raises SyndiffError where one of the two is given alone."""
    if bool(reviews) != bool(reviewed):
        missing, there = ("--reviewed", "--reviews") if reviews else ("--reviews", "--reviewed")
        raise SyndiffError(
            f"{there} is given without {missing}; give both: the file of reviews (--reviews) and the synthetic folders "
            "whose samples they are of (--reviewed)."
        )
    return bool(reviews)


def _open(folder: Path, split: Split, dataset: Dataset) -> Dataset:
    """A synthetic folder whose samples were rated or scored as those of the class that `dataset` shows.

    Raises SyndiffError for one that was not made from the split's training cases alone, and one of another class.
    """
    synthetic = open_synthetic(folder, split, dataset)
    check_synthetic_inpainter(folder, dataset, split)
    if isinstance(dataset, ClassView):
        wanted = dataset.targets[0]
        painted = {sample.settings.get("paints") for sample in read_manifest(folder / "manifest.jsonl")}
        if others := sorted(str(each) for each in painted - {wanted}):
            raise SyndiffError(
                f"{folder} was painted with {', '.join(others)}, and what reviewers say of its samples is of that "
                f"class; here {wanted} is painted. Leave it out of --reviewed, or set synthesis.paints to that class."
            )
    return synthetic


def _mask(review: CaseReview) -> str | None:
    return review.mask if review.state == "corrected" else None


def _corrected(store: ReviewStore, dataset: Dataset, ids: Sequence[str], masks: Mapping[str, str]) -> Source:
    return Corrected.of(dataset, {case: store.mask_file(mask) for case, mask in masks.items()}), ids
