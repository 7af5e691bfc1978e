"""The synthetic dataset folder and its record, written so that a run killed at any moment can go on.

Order of writing, each step whole or not at all: a sample's pictures, its line in manifest.jsonl, and at the
end of the run the tables and dataset.json. Only the manifest says what exists.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.class_view import written_with
from syndiff.data.dataset import Dataset
from syndiff.data.tables import table_bytes, write_table
from syndiff.data.targets import Targets
from syndiff.data.written_masks import encode_masks, mask_extension
from syndiff.documents import Kinds, check_object, read_objects
from syndiff.errors import SyndiffError, shown
from syndiff.files import append_json, claimed, drop_cut_line, keep_earlier, write_bytes, write_json
from syndiff.imaging import encode_exactly

log = logging.getLogger("syndiff")

KIND = "a synthetic dataset"
"""What the mark of such a folder says (`files.claimed`)."""

PREFIX = "synthetic-"
"""Every id starts with it, so synthetic cases never collide with real ones."""

_PICTURES = ("images", "masks", "rejected/images", "rejected/masks")
_TABLES = (
    *("groups.csv", "captions.csv", "acceptance.json", "likeness.json", "dataset.json"),
    *("contact_sheet.png", "synthesis.html"),
)
_OTHERS = ("gates.json", "shard.json", "seen.json", "real_lesions.json")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Everything needed to judge a synthetic sample and to make it again.

    `group` is the background's and `mask_group` the lesion's; `seed` is the one the inpainter was given. `backend`
    holds name, model, revision, hash and the datasets learned from; `settings` every other setting of the run and
    of the inpainter. `words` holds the prompt's word for each slot of the grammar. `caption`
    is what was measured on the picture where the inpainter does not follow the prompt. `placement` says how the lesion
    was moved (pixels, degrees), `removal` with which prompt and seed the frame's own lesions were painted over, if
    they were. An attempt that found no place for a lesion has no source, no prompt, no seed and no picture.
    `reason` says in a word or two why a sample was not accepted: the gate's name, or what failed technically.
    `lesions` holds the measures of each new lesion (`placement.measures`); older manifests have none.
    `detail` is the sentence of the first gate that did not pass, with its numbers, also where gates only report.
    """

    id: str
    source_case: str | None = None
    mask_source: str | None = None
    group: str | None = None
    mask_group: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    words: dict[str, str] | None = None
    caption: str | None = None
    seed: int | None = None
    placement: dict[str, Any] | None = None
    removal: dict[str, Any] | None = None
    backend: dict[str, Any]
    settings: dict[str, Any]
    gates: dict[str, float | None] = field(default_factory=dict)
    accepted: bool
    reason: str | None
    detail: str | None = None
    lesions: list[dict[str, float]] | None = None
    versions: dict[str, str]

    @property
    def told(self) -> str | None:
        """What the picture shows, in words: the prompt that was followed, or what was measured."""
        return self.caption or self.prompt

    def setting(self, name: str) -> Any:
        """One of `settings`. Raises SyndiffError where the manifest does not tell it."""
        if name not in self.settings:
            raise SyndiffError(f"{self.id} in manifest.jsonl lacks the setting {name}. {_MEND}")
        return self.settings[name]


_MEND = "Restore manifest.jsonl, or synthesize into another folder."
_TEXT, _NUMBER, _OBJECT = (str, type(None)), (int, type(None)), (dict, type(None))
_KINDS: Kinds = {
    "id": str,
    **dict.fromkeys(("source_case", "mask_source", "group", "mask_group", "prompt", "negative_prompt"), _TEXT),
    "words": _OBJECT,
    "seed": _NUMBER,
    "placement": _OBJECT,
    "removal": _OBJECT,
    "backend": dict,
    "settings": dict,
    "gates": dict,
    "accepted": bool,
    "reason": _TEXT,
    "detail": _TEXT,
    "versions": dict,
}
"""What a line of a manifest holds: the fields of `Sample`, checked by hand since there may be very many."""
_OPTIONAL: Kinds = {"caption": str, "lesions": list}
"""They stand in a line only where there are any."""
_LESION: Kinds = dict.fromkeys(("area", "elongation", "distance", "edge", "contrast"), float)
_TARGET: Kinds = {"area": float, "edge": float, "distance": float, "quarter": int}
_QUARTERS = range(1, 5)


@dataclass(frozen=True)
class Pictures:
    """A sample's image (HxWx3, uint8 or uint16) and label (HxW); of several classes, `targets`, all labels (KxHxW)."""

    image: NDArray[np.uint8] | NDArray[np.uint16]
    label: NDArray[np.bool_]
    every: NDArray[np.bool_] | None = None
    targets: Targets = field(default_factory=Targets)


class SynthesisFolder:
    """A synthetic dataset folder, opened for going on where it stopped; the caller has claimed it (`claimed_folder`).

    A manifest line cut short by a crash is dropped, so its sample is made again. Raises SyndiffError for any
    other damage to the manifest, and for a folder that holds images of another origin.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / "manifest.jsonl"
        if self.manifest.exists():
            drop_cut_line(self.manifest)
        strange = next((path for path in self._files() if _index(path.name.lstrip(".").split(".")[0]) is None), None)
        if strange:
            raise SyndiffError(
                f"{strange} was not made by synthesize; give an empty or new folder for the synthetic cases."
            )

    def __iter__(self) -> Iterator[Sample]:
        """Samples from the first to the last, read one at a time."""
        return read_manifest(self.manifest) if self.manifest.exists() else iter(())

    def begin(self) -> None:
        """Remove what a killed run left without a line, and the tables, which are about to be outdated."""
        last = -1
        for sample in self:
            last = max(last, _index(sample.id) or 0)
        for path in self._files():
            index = _index(path.stem)
            if index is None or index > last:
                path.unlink()
        self._keep_corrections()
        for name in _TABLES:
            (self.root / name).unlink(missing_ok=True)
        for name in (*_TABLES, *_OTHERS):
            for path in self.root.glob(f".{name}.*"):
                path.unlink(missing_ok=True)

    def _keep_corrections(self) -> None:
        """Copy tables that somebody corrected, which are about to be made anew."""
        for column, rows in self._tables().items():
            path = self.root / f"{column}s.csv"
            content = path.read_bytes() if self.is_finished and path.is_file() else b""
            of_these = content.count(b"\n" + PREFIX.encode()) == len(rows) > 0
            if of_these and content != table_bytes(column, rows):
                log.warning(f"{path} was changed by hand; that table is kept as {keep_earlier(path)}")

    def add(self, sample: Sample, pictures: Pictures | None) -> None:
        """Keep a sample: its pictures first, then its line, on the disk when this returns."""
        if pictures:
            folder = self.root if sample.accepted else self.root / "rejected"
            content, extension = encode_exactly(pictures.image)
            if pictures.every is None:
                label, ending = encode_exactly(pictures.label)
            else:
                label, ending = encode_masks(pictures.every, pictures.targets), mask_extension(pictures.targets)
            write_bytes(folder / "masks" / f"{sample.id}{ending}", label)
            write_bytes(folder / "images" / f"{sample.id}{extension}", content)
        self._record(sample)

    def adopt(self, sample: Sample, other: "SynthesisFolder") -> None:
        """Keep a sample of another synthetic dataset folder, byte for byte."""
        part = "." if sample.accepted else "rejected"
        for kind in ("masks", "images"):
            found = sorted((other.root / part / kind).glob(f"{sample.id}.*"))
            if not found and sample.source_case:
                raise SyndiffError(f"{other.root / part / kind} has no picture of {sample.id}; make this shard again.")
            for path in found:
                write_bytes(self.root / part / kind / path.name, path.read_bytes())
        self._record(sample)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file into the folder."""
        write_json(self.root / name, content)

    def picture(self, sample: Sample) -> Path | None:
        """Where a sample's image lies, below images/ or rejected/images/; None when it has none."""
        images = (self.root if sample.accepted else self.root / "rejected") / "images"
        return next((p for p in (images / f"{sample.id}{e}" for e in (".png", ".tif")) if p.is_file()), None)

    def label(self, sample: Sample) -> Path | None:
        """Where a sample's label lies, below masks/ or rejected/masks/; None when it has none."""
        masks = (self.root if sample.accepted else self.root / "rejected") / "masks"
        return next((p for p in (masks / f"{sample.id}{e}" for e in (".png", ".tif")) if p.is_file()), None)

    def _record(self, sample: Sample) -> None:
        left_out = [name for name in _OPTIONAL if not getattr(sample, name)]
        append_json(self.manifest, {name: value for name, value in vars(sample).items() if name not in left_out})

    @property
    def is_finished(self) -> bool:
        """Whether dataset.json, which is written last, is there."""
        return (self.root / "dataset.json").is_file()

    def check_pictures(self, sample: Sample) -> None:
        """Raise SyndiffError where a sample that was painted has lost its picture or its label."""
        if sample.source_case is None:
            return
        if self.picture(sample) is None or self.label(sample) is None:
            raise SyndiffError(
                f"{self.root} has no longer the picture or the label of {sample.id}, which its manifest lists; restore "
                "it, or synthesize into another folder."
            )

    def _tables(self) -> dict[str, list[tuple[str, str | None]]]:
        """The rows of captions.csv (what the pictures show; no empty ones) and, where all are known, groups.csv."""
        accepted = [sample for sample in self if sample.accepted]
        tables: dict[str, list[tuple[str, str | None]]] = {}
        if all(each.told for each in accepted):  # painted without words, it has nothing to tell
            tables["caption"] = [(each.id, each.told) for each in accepted]
        if all(sample.group is not None for sample in accepted):
            tables["group"] = [(each.id, each.group) for each in accepted]
        return tables

    def finish(self, origin: Dataset, inpainter: str) -> None:
        """Write groups.csv (when groups are known), captions.csv and, last, dataset.json."""
        for column, rows in self._tables().items():
            write_table(self.root / f"{column}s.csv", column, rows)
        targets = written_with(origin)
        classes = {str(index): name for index, name in origin.classes.items()}
        description = {
            "name": f"{origin.name} (synthetic, {inpainter})",
            "modality": origin.modality,
            **(targets.told if targets.several else {"classes": classes, "mask_threshold": 127}),
            "licence": origin.licence,
            "notes": f"made from {origin.name} by syndiff synthesize; manifest.jsonl tells how, case by case",
        }
        write_json(self.root / "dataset.json", description)

    def _files(self) -> Iterator[Path]:
        for name in _PICTURES:
            yield from sorted((self.root / name).glob("*"))  # temporary files too: their names start with a dot


@contextlib.contextmanager
def claimed_folder(root: Path) -> Iterator[SynthesisFolder]:
    """A synthetic dataset folder, new or to go on with, which this process alone writes into.

    Raises SyndiffError for a folder in use and for one that holds files of another origin; nothing is touched then.
    """
    with claimed(root, KIND, known=_has_samples):
        yield SynthesisFolder(root)


def _has_samples(root: Path) -> bool:
    """Whether a folder without a mark is a synthetic dataset all the same, made before there were marks."""
    manifest = root / "manifest.jsonl"
    return manifest.is_file() and next(read_manifest(manifest), None) is not None


def read_manifest(path: Path, *, drop_cut: bool = False) -> Iterator[Sample]:
    """Read the samples of a manifest, in the order they were made; a damaged line is a SyndiffError.

    With `drop_cut` a last line without an end is left out: it is being written.
    """
    for number, content in enumerate(read_objects(path, _KINDS, mend=_MEND, drop_cut=drop_cut), 1):
        where = f"{path}, line {number}"
        if strange := sorted(content.keys() - _KINDS.keys() - _OPTIONAL.keys()):
            raise SyndiffError(f"{where} holds {shown(strange[0])}, which this version does not know. {_MEND}")
        if there := {name: kind for name, kind in _OPTIONAL.items() if name in content}:
            check_object(where, content, there, mend=_MEND)
        if _index(content["id"]) is None:
            raise SyndiffError(f"{where}: id is {shown(content['id'])}, which no sample is called. {_MEND}")
        backend, settings = content["backend"], content["settings"]
        check_object(f"{where}: backend", backend, {"name": str, "hash": (str, type(None))}, mend=_MEND)
        if "learned_from" in backend:
            check_object(f"{where}: backend", backend, {"learned_from": list}, mend=_MEND)
        for section in {"gates", "inpainter"} & settings.keys():
            check_object(f"{where}: settings.{section}", settings[section], {}, mend=_MEND)
        for lesion in content.get("lesions", ()):
            check_object(f"{where}: lesions", lesion, _LESION, mend=_MEND)
        target = (content["placement"] or {}).get("target")
        if (
            target
            and check_object(f"{where}: placement.target", target, _TARGET, mend=_MEND)["quarter"] not in _QUARTERS
        ):
            raise SyndiffError(f"{where}: placement.target names quarter {target['quarter']}, expected 1 to 4. {_MEND}")
        scores = dict.fromkeys(content["gates"], (float, type(None)))
        check_object(f"{where}: gates", content["gates"], scores, mend=_MEND)
        yield Sample(**content)


def sample_id(index: int) -> str:
    """Id of the attempt with this index."""
    return f"{PREFIX}{index:06d}"


def _index(name: str) -> int | None:
    number = name.removeprefix(PREFIX)
    return int(number) if number != name and number.isascii() and number.isdigit() else None


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, the names joined by dots."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result
