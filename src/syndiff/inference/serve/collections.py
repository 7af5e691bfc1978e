"""What there is to browse: a dataset, a synthetic dataset with its scores, or a run's test cases with theirs."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from syndiff.data.dataset import Case, Dataset
from syndiff.data.seen import Seen
from syndiff.documents import read_object
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import read_per_case
from syndiff.inference.serve.refusal import Refusal
from syndiff.synthesis.manifest import Sample, read_manifest

PAGE = 100
"""Cases that one answer holds."""

_MANIFEST = "manifest.jsonl"
_SCORES = ("dice", "iou", "hd95", "nsd", "lesions", "missed_lesions", "false_lesions")


@dataclass(frozen=True, slots=True)  # there may be ten thousands
class BrowseCase:
    """One case: its files, and what is told of it.

    facts: texts by what they are, in the order in which they are shown; scores: numbers to sort by.
    reason: why a synthetic case was rejected; "" for any other. source: the real frame it was painted into.
    prediction: the mask that a run predicted. threshold: the grey value above which the mask is foreground.
    """

    name: str
    image: Path
    mask: Path
    facts: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    source: Case | None = None
    prediction: Path | None = None
    threshold: int | None = None

    @property
    def text(self) -> str:
        """All that a filter looks into."""
        return " ".join((self.name, self.reason, *self.facts.values())).casefold()


class Collection:
    """The cases of one folder, listed when it is made and again by `refresh`; images are not read.

    `listed` is how many times.

    Raises SyndiffError for a folder that is nothing to browse, and for test cases without the dataset they are from.
    """

    def __init__(self, root: Path, data: Dataset | None) -> None:
        self.root, self._data = root, data
        self.kind = "synthetic" if (root / _MANIFEST).is_file() else "dataset" if (root / "images").is_dir() else "run"
        self.seen: Seen | None = None
        self.listed = 0
        self.refresh()

    def refresh(self) -> None:
        """List the folder again: it may have grown."""
        if self.kind == "synthetic":
            cases, self.seen = list(_synthetic(self.root, self._data)), Seen.read(self.root)
        else:
            cases = list(
                _of_dataset(Dataset.open(self.root)) if self.kind == "dataset" else _of_run(self.root, self._data)
            )
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

    def page(self, offset: int, *, text: str, sort: str, descending: bool, state: str) -> dict[str, object]:
        """Up to `PAGE` cases from `offset` on that hold every word of `text`, sorted; and how many there are.

        sort: "name" or a score; cases without it come last. state: "all", "accepted" or "rejected".
        """
        words = text.casefold().split()
        found = [
            (key, case)
            for key, (case, told) in self._listed.items()
            if all(word in told for word in words) and (state == "all" or (state == "rejected") == bool(case.reason))
        ]
        if sort == "name":
            found.sort(key=lambda item: item[1].name, reverse=descending)
        else:
            sign = -1 if descending else 1
            found.sort(key=lambda item: (sort not in item[1].scores, sign * item[1].scores.get(sort, 0), item[1].name))
        items = [
            {"id": key, "name": case.name, "reason": case.reason, "score": case.scores.get(sort)}
            for key, case in found[offset : offset + PAGE]
        ]
        return {"total": len(found), "offset": offset, "items": items}


def collections_of(root: Path, data: Dataset | None) -> list[Collection]:
    """What a folder holds: itself, or the synthetic cases and the evaluated arms of `syndiff run`.

    Raises SyndiffError where there is nothing to browse.
    """
    if not root.is_dir():
        raise SyndiffError(f"--browse {root} is no folder; give a dataset, a synthetic dataset or a run folder.")
    if (root / _MANIFEST).is_file() or (root / "images").is_dir() or (root / "eval").is_dir():
        return [Collection(root, data)]
    inside = [path for path in sorted(root.iterdir()) if (path / _MANIFEST).is_file()]
    inside += [path for path in sorted(root.iterdir()) if (path / "eval").is_dir()]
    if not inside:
        raise SyndiffError(
            f"--browse {root} holds nothing to browse; expected images/ and masks/, a manifest.jsonl, or an evaluated "
            "run."
        )
    return [Collection(path, data) for path in inside]


def _of_dataset(dataset: Dataset) -> Iterator[BrowseCase]:
    for case in dataset.cases:
        facts = {"group": case.group or "", "caption": case.caption or ""}
        facts = {name: value for name, value in facts.items() if value}
        yield BrowseCase(case.id, case.image, case.mask, facts, threshold=dataset.mask_threshold)


def _synthetic(root: Path, data: Dataset | None) -> Iterator[BrowseCase]:
    """Samples with a picture, accepted and rejected; an attempt that found no place has none."""
    cases = {} if data is None else {case.id: case for case in data.cases}
    there = {part: set(_names(root / part / "images")) for part in ("", "rejected")}
    for sample in read_manifest(root / _MANIFEST):
        part = "" if sample.accepted else "rejected"
        name = next((f"{sample.id}{end}" for end in (".png", ".tif") if f"{sample.id}{end}" in there[part]), None)
        if name is None:
            continue
        folder = root / part
        yield BrowseCase(
            sample.id,
            folder / "images" / name,
            folder / "masks" / f"{sample.id}.png",
            _told(sample),
            {gate: score for gate, score in sample.gates.items() if score is not None},
            "" if sample.accepted else sample.reason or "rejected",
            cases.get(sample.source_case or ""),
        )


def _told(sample: Sample) -> dict[str, str]:
    facts = {
        "prompt": sample.prompt,
        "caption": sample.caption,
        "verdict": "accepted" if sample.accepted else f"rejected: {sample.detail or sample.reason}",
        "seed": sample.seed,
        "source frame": sample.source_case,
        "shape of": sample.mask_source,
        "group": sample.group,
        "inpainter": sample.backend["name"],
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
                masks = summary.with_name("masks") / f"{row.case}.png"
                facts = {} if row.group is None else {"group": row.group}
                yield BrowseCase(
                    case.id, case.image, case.mask, facts, scores, prediction=masks, threshold=data.mask_threshold
                )
            return
    there = f"of {', '.join(names)} with other images, masks or groups" if names else "none: run syndiff evaluate first"
    raise SyndiffError(f"--data {data.root} is not what {root} was evaluated on; its evaluations are {there}.")
