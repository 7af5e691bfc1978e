"""What there is to browse: a dataset, a synthetic dataset with its scores, or a run's test cases with theirs."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from syndiff.data.dataset import Case, Dataset, targets_in
from syndiff.data.listing import natural
from syndiff.data.seen import Seen
from syndiff.data.targets import Targets
from syndiff.data.written_masks import mask_extension
from syndiff.documents import read_object
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import read_per_case
from syndiff.inference.serve.refusal import Refusal
from syndiff.reviews.state import CaseReview
from syndiff.synthesis.manifest import Sample, read_manifest

PAGE = 100
"""Cases that one answer holds."""

_MANIFEST = "manifest.jsonl"
RATING = "mean rating"
"""The score that reviewers gave, 1 to 5."""

_SCORES = ("dice", "iou", "hd95", "nsd", "lesions", "missed_lesions", "false_lesions")


@dataclass(frozen=True, slots=True)  # there may be ten thousands
class BrowseCase:
    """One case: its files, and what is told of it.

    facts: texts by what they are, in the order in which they are shown; scores: numbers to sort by.
    reason: why the gates rejected a synthetic case; "" for any other. source: the real frame it was painted into.
    placed: where (x, y) a synthetic lesion was put into a frame that may show others; None: not told.
    prediction: the mask that a run predicted. threshold: the grey value above which the mask is foreground.
    targets: what both tell apart.
    """

    name: str
    image: Path
    mask: Path
    facts: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    source: Case | None = None
    placed: tuple[float, float] | None = None
    prediction: Path | None = None
    threshold: int | None = None
    targets: Targets = field(default_factory=Targets)

    @property
    def text(self) -> str:
        """All that a filter looks into."""
        return " ".join((self.name, self.reason, *self.facts.values())).casefold()


@dataclass(frozen=True)
class Wanted:
    """Which cases are asked for, and in which order.

    text: words that name, reason or facts hold, all of them. sort: "name", or a score; cases without it come last.
    low, high: the least and the most that this score may be; cases without it are left out where one is given.
    gates: what the gates said of a synthetic case. review: what the reviewers say.
    """

    text: str = ""
    sort: str = "name"
    descending: bool = False
    low: float | None = None
    high: float | None = None
    gates: Literal["all", "accepted", "rejected"] = "all"
    review: Literal["all", "open", "accepted", "corrected", "rejected"] = "all"


Reviews = Mapping[str, CaseReview]
"""What reviewers say of the cases of a folder, by name; a case that is not there is open."""


class Collection:
    """The cases of one folder in natural order, listed when it is made and again by `refresh`; images are not read.

    `listed` is how many times. `key` names the folder in addresses for as long as it lies where it is: a page of before
    a restart with other folders is never answered with another one's cases.

    Raises SyndiffError for a folder that is nothing to browse, and for test cases without the dataset they are from.
    """

    def __init__(self, root: Path, data: Dataset | None) -> None:
        self.root, self._data = root, data
        self.key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
        self.kind = "synthetic" if (root / _MANIFEST).is_file() else "dataset" if (root / "images").is_dir() else "run"
        self.seen: Seen | None = None
        self.listed = 0
        self.refresh()

    @property
    def roots(self) -> list[Path]:
        """The folders that files of cases lie in."""
        return [self.root] if self._data is None else [self.root, self._data.root]

    def refresh(self) -> None:
        """List the folder again: it may have grown."""
        if self.kind == "synthetic":
            cases, self.seen = list(_synthetic(self.root, self._data)), Seen.read(self.root)
        else:
            cases = list(
                _of_dataset(Dataset.open(self.root)) if self.kind == "dataset" else _of_run(self.root, self._data)
            )
        cases.sort(key=lambda case: natural(case.name))
        by_id = {hashlib.sha256(case.name.encode()).hexdigest()[:20]: case for case in cases}
        self._listed = {key: (case, case.text) for key, case in by_id.items()}  # in one go, for who reads meanwhile
        self.scores = list(dict.fromkeys(name for case in cases for name in case.scores))
        self.has_rejected = any(case.reason for case in cases)
        self.listed += 1

    def __len__(self) -> int:
        return len(self._listed)

    def __getitem__(self, case_id: str) -> BrowseCase:
        """The case of an id. Raises Refusal (404) for an id that was not listed."""
        found = self._listed.get(case_id)
        if found is None:
            raise Refusal(404, "This case is not in the folder any more; list it again.")
        return found[0]

    @property
    def cases(self) -> dict[str, BrowseCase]:
        """All cases by their ids, in the order of the list."""
        return {key: case for key, (case, _) in self._listed.items()}

    def page(
        self, wanted: Wanted, offset: int = 0, *, reviews: Reviews | None = None, near: str = ""
    ) -> dict[str, object]:
        """Up to `PAGE` of the wanted cases from `offset` on, how many there are, and which of them is `near`.

        reviews: None where nobody reviews. near: the id of a case; its place is null where it is not among them.
        """
        said = reviews or {}
        found = [(key, case, _score(case, wanted.sort, said)) for key, case in self._filtered(wanted, said)]
        if wanted.low is not None or wanted.high is not None:
            low, high = wanted.low, wanted.high
            found = [
                (key, case, score)
                for key, case, score in found
                if score is not None and (low is None or score >= low) and (high is None or score <= high)
            ]
        if wanted.sort == "name":
            found = found[::-1] if wanted.descending else found
        else:  # stable, so that those of one score are in the order of their names
            sign = -1 if wanted.descending else 1
            found.sort(key=lambda item: (item[2] is None, sign * (item[2] or 0)))
        items = [
            {"id": key, "name": case.name, "reason": case.reason, "score": score, "review": _state(case, reviews)}
            for key, case, score in found[offset : offset + PAGE]
        ]
        place = next((number for number, (key, _, _) in enumerate(found) if key == near), None) if near else None
        return {"total": len(found), "offset": offset, "items": items, "place": place}

    def _filtered(self, wanted: Wanted, reviews: Reviews) -> Iterator[tuple[str, BrowseCase]]:
        words = wanted.text.casefold().split()
        for key, (case, told) in self._listed.items():
            if (
                all(word in told for word in words)
                and (wanted.gates == "all" or (wanted.gates == "rejected") == bool(case.reason))
                and (wanted.review == "all" or wanted.review == _state(case, reviews))
            ):
                yield key, case


def _state(case: BrowseCase, reviews: Reviews | None) -> str | None:
    if reviews is None:
        return None
    return reviews[case.name].state if case.name in reviews else "open"


def _score(case: BrowseCase, name: str, reviews: Reviews) -> float | None:
    if name == RATING:
        return reviews[case.name].rating if case.name in reviews else None
    return case.scores.get(name)


def collections_of(root: Path, data: Dataset | None) -> list[Collection]:
    """What a folder holds: itself, or the synthetic cases and the evaluated arms of `syndiff run`.

    Raises SyndiffError where there is nothing to browse.
    """
    if not root.is_dir():
        raise SyndiffError(f"--browse {root} is no folder; give a dataset, a synthetic dataset or a run folder.")
    if (root / _MANIFEST).is_file() or (root / "images").is_dir() or (root / "eval").is_dir():
        return [Collection(root, data)]
    folders = sorted(root.iterdir(), key=lambda path: natural(path.name))
    inside = [path for path in folders if (path / _MANIFEST).is_file()]
    inside += [path for path in folders if (path / "eval").is_dir()]
    if not inside:
        raise SyndiffError(
            f"--browse {root} holds nothing to browse; expected images/ and masks/, a manifest.jsonl, or an evaluated "
            "run."
        )
    return [Collection(path, data) for path in inside]


def _of_dataset(dataset: Dataset) -> Iterator[BrowseCase]:
    for case in dataset.cases:
        facts = {"group": case.group or "", "caption": case.caption or "", "classes": _named(dataset.told_apart)}
        facts = {name: value for name, value in facts.items() if value}
        yield BrowseCase(
            case.id, case.image, case.mask, facts, threshold=dataset.mask_threshold, targets=dataset.told_apart
        )


def _named(targets: Targets) -> str:
    """What the contours show, where that is more than one class."""
    return str(targets) if targets.several else ""


def _synthetic(root: Path, data: Dataset | None) -> Iterator[BrowseCase]:
    """Samples with a picture, accepted and rejected; an attempt that found no place has none.

    The folder may be written to meanwhile: a sample whose line is not whole yet is not there.
    """
    cases = {} if data is None else {case.id: case for case in data.cases}
    samples = list(read_manifest(root / _MANIFEST, drop_cut=True))  # before the pictures, which were written before it
    targets = targets_in(root)
    there = {part: set(_names(root / part / "images")) for part in ("", "rejected")}
    for sample in samples:
        part = "" if sample.accepted else "rejected"
        name = next((f"{sample.id}{end}" for end in (".png", ".tif") if f"{sample.id}{end}" in there[part]), None)
        if name is None:
            continue
        folder = root / part
        yield BrowseCase(
            sample.id,
            folder / "images" / name,
            folder / "masks" / f"{sample.id}{mask_extension(targets)}",
            _told(sample, targets),
            {gate: score for gate, score in sample.gates.items() if score is not None},
            "" if sample.accepted else sample.reason or "rejected",
            cases.get(sample.source_case or ""),
            _placed(sample),
            targets=targets,
        )


def _placed(sample: Sample) -> tuple[float, float] | None:
    at = sample.placement or {}
    return (at["column"], at["row"]) if {"column", "row"} <= at.keys() else None


def _told(sample: Sample, targets: Targets) -> dict[str, str]:
    facts = {
        "prompt": sample.prompt,
        "caption": sample.caption,
        "gates": "accepted" if sample.accepted else f"rejected: {sample.detail or sample.reason}",
        "seed": sample.seed,
        "source frame": sample.source_case,
        "shape of": sample.mask_source,
        "group": sample.group,
        "inpainter": sample.backend["name"],
        "painted": sample.settings.get("paints"),
        "classes": _named(targets),
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - ten thousand names, and no more than names


def _of_run(root: Path, data: Dataset | None) -> Iterator[BrowseCase]:
    if data is None:
        raise SyndiffError(f"--browse {root} is a run, whose test cases are elsewhere: give their dataset with --data.")
    fingerprint, names = data.fingerprint(), []
    for summary in sorted(root.glob("eval/*/summary.json")):
        told = read_object(summary, {"dataset": dict})["dataset"]
        names.append(str(told.get("name")))
        if told.get("fingerprint") == fingerprint:
            for row in read_per_case(summary.with_name("per_case.csv")):
                case, metrics = data[row.case], asdict(row.metrics)
                scores = {name: metrics[name] for name in _SCORES if metrics[name] is not None}
                scores |= {} if row.disagreement is None else {"disagreement": row.disagreement}
                masks = summary.with_name("masks") / f"{row.case}{mask_extension(data.told_apart)}"
                facts = {"group": row.group or "", "classes": _named(data.told_apart)}
                yield BrowseCase(
                    case.id,
                    case.image,
                    case.mask,
                    {name: value for name, value in facts.items() if value},
                    scores,
                    prediction=masks,
                    threshold=data.mask_threshold,
                    targets=data.told_apart,
                )
            return
    there = f"of {', '.join(names)} with other images, masks or groups" if names else "none: run syndiff evaluate first"
    raise SyndiffError(f"--data {data.root} is not what {root} was evaluated on; its evaluations are {there}.")
