"""A browsed folder whose cases can be reviewed: what each shows now, and the fingerprint of the dataset it is in."""

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from syndiff.data.dataset import Case, Dataset, targets_in
from syndiff.errors import SyndiffError
from syndiff.inference.serve.collections import BrowseCase, Collection
from syndiff.inference.serve.decoding import BlindPicture, Decoder, ReviewedCase, renamed
from syndiff.inference.serve.refusal import Refusal
from syndiff.reviews.events import Subject

_Stamp = tuple[int, int, int, int]
_DECODES = 10  # times as long as hashing its files takes decoding a case


@dataclass
class _Part:
    """A dataset folder: that of a collection, or that of its rejected samples; its fingerprint at first need."""

    dataset: Dataset
    settings: list[Any]
    files: dict[str, tuple[str | None, _Stamp]]
    _fingerprint: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fingerprint(self) -> str:
        with self._lock:
            self._fingerprint = self._fingerprint or self.dataset.fingerprint()
            return self._fingerprint


class ReviewFolder:
    """A dataset or a synthetic dataset.

    `key` names it in addresses, for as long as it lies where it is. The rejected samples of a synthetic dataset are a
    dataset of their own, in `rejected/`, which no training reads. Several threads may use it.
    """

    def __init__(self, collection: Collection, decoder: Decoder) -> None:
        self.collection, self._decoder = collection, decoder
        self.key = collection.key
        self._lock = threading.RLock()
        self._listed = 0
        self._ids: dict[str, str] = {}
        self._known: dict[str, tuple[_Stamp, str, tuple[int, int] | None]] = {}
        self._parts: dict[bool, _Part] = {}

    @property
    def names(self) -> dict[str, str]:
        """The id of each case, as the collection has it, by the case's name."""
        with self._lock:
            self._follow()
            return self._ids

    def contents(self, names: Sequence[str], seen: Callable[[str], Mapping[str, str]]) -> dict[str, str]:
        """What cases showed when they were last looked at since the folder was listed; damaged ones are left out.

        seen: the content that a case had in a dataset, by the dataset's fingerprint. Where many cases are yet to be
        looked at, a dataset that has such a fingerprint still need not be decoded.
        """
        with self._lock:
            self._follow()
            known = {name: self._known[name][1] for name in names if name in self._known}
        unknown = [name for name in names if name not in known]
        hash_first = _DECODES * len(unknown) >= len(self._ids)
        for name in unknown:
            with contextlib.suppress(SyndiffError):
                case = self._case(name)
                known[name] = (self._as_reviewed(case, seen(name)) if hash_first else "") or self._seen(case)[0]
        return known

    def subject(self, case_id: str) -> Subject:
        """The case of an id as it lies on the disk now.

        Its files are read where they changed since. Raises SyndiffError for an unknown id, and files that are gone or
        damaged.
        """
        case = self.collection[case_id]
        content, shape = self._seen(case)
        part = self._part(case)
        return Subject(part.fingerprint, part.dataset.name, case.name, content, shape)

    def shown(self, case_id: str, mask: Path | None = None) -> ReviewedCase:
        """A case for the page, with the contour of a corrected `mask` if there is one. Raises errors as `subject`."""
        case = self.collection[case_id]
        stamp = _stamp(case)
        found = self._asked(case, mask)
        with self._lock:
            self._known[case.name] = stamp, found.content, (found.height, found.width)
        return found

    def picture(self, case_id: str) -> bytes:
        """A JPEG of a case's picture. Raises SyndiffError where its file cannot be read."""
        case = self.collection[case_id]
        _stamp(case)
        try:
            return self._decoder.jpeg(case.image)
        except SyndiffError as error:
            raise _without_paths(error, case) from None

    def blind(self, case_id: str, side: int) -> BlindPicture:
        """A case reduced to `side` pixels of its longer side. Raises SyndiffError as `subject` does."""
        case = self.collection[case_id]
        _stamp(case)
        try:
            return self._decoder.blind(self._part(case).dataset, _as_case(case), side)
        except SyndiffError as error:
            raise _without_paths(error, case) from None

    def mask(self, case_id: str) -> bytes:
        """The mask of a case as a grey PNG of 0 and 255. Raises SyndiffError as `subject` does."""
        case = self.collection[case_id]
        _stamp(case)
        try:
            return self._decoder.mask(self._part(case).dataset, _as_case(case))
        except SyndiffError as error:
            raise _without_paths(error, case) from None

    def _case(self, name: str) -> BrowseCase:
        return self.collection[self.names[name]]

    def _as_reviewed(self, case: BrowseCase, seen: Mapping[str, str]) -> str:
        """The content of a case in a dataset that is the very one in which it was reviewed; "" where it is another."""
        part = self._part(case)
        content = seen.get(part.fingerprint, "")
        stamp = _stamp(case)
        if not content or part.files.get(case.name, (None, None))[1] != stamp:
            return ""
        with self._lock:
            self._known[case.name] = stamp, content, None
        return content

    def _seen(self, case: BrowseCase) -> tuple[str, tuple[int, int]]:
        """Content and shape of a case; read only if its files are others than when it was last read."""
        stamp = _stamp(case)
        with self._lock:
            known = self._known.get(case.name)
        if known is not None and known[0] == stamp and known[2] is not None:
            return known[1], known[2]
        found = self._asked(case, None)
        shape = found.height, found.width
        with self._lock:
            self._known[case.name] = stamp, found.content, shape
        return found.content, shape

    def _asked(self, case: BrowseCase, mask: Path | None) -> ReviewedCase:
        try:
            return self._decoder.reviewed(self._part(case).dataset, _as_case(case), mask)
        except SyndiffError as error:
            raise _without_paths(error, case) from None

    def _part(self, case: BrowseCase) -> _Part:
        with self._lock:
            self._follow()
            rejected = bool(case.reason)
            if rejected not in self._parts:
                self._parts[rejected] = _opened(self.collection.root, rejected)
            return self._parts[rejected]

    def _follow(self) -> None:
        """Take note where the collection was listed anew; a folder that did not change keeps its fingerprint."""
        if self._listed == self.collection.listed:
            return
        self._listed = self.collection.listed
        self._ids = {case.name: key for key, case in self.collection.cases.items()}
        self._known = {name: known for name, known in self._known.items() if self._is_unchanged(name, known[0])}
        for rejected, part in list(self._parts.items()):
            del self._parts[rejected]  # what cannot be opened any more is told when it is needed
            now = _opened(self.collection.root, rejected)
            unchanged = (part.settings, part.files) == (now.settings, now.files)
            self._parts[rejected] = part if unchanged else now

    def _is_unchanged(self, name: str, stamp: _Stamp) -> bool:
        if name not in self._ids:
            return False
        try:
            return _stamp(self.collection[self._ids[name]]) == stamp
        except SyndiffError:
            return False


def _opened(root: Path, rejected: bool) -> _Part:
    dataset = Dataset.open(root / "rejected" if rejected else root)
    if rejected:
        dataset = replace(dataset, name=f"{root.resolve().name}: rejected by its gates")
        whole = targets_in(root)
        if whole.several:  # what rejected/ does not say itself
            classes = dict(zip(whole.numbers, whole.names, strict=True))
            dataset = replace(dataset, classes=classes, overlap=whole.overlap)
    files = {case.id: (case.group, _stamp(case)) for case in dataset.cases}
    return _Part(dataset, [dataset.mask_threshold, dataset.classes, dataset.overlap, dataset.name], files)


def _as_case(case: BrowseCase) -> Case:
    return Case(case.name, case.image, case.mask)


def _stamp(case: BrowseCase | Case) -> _Stamp:
    """When the files of a case were written, and their sizes.

    Raises Refusal for one that is gone (409), and where its folder is away or cannot be read (503).
    """
    found: list[int] = []
    for path in (case.image, case.mask):
        try:
            now = path.stat()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and path.parent.is_dir():
                raise Refusal(409, f"{path.name} is not in the folder any more; list the folder again.") from None
            raise Refusal(
                503,
                f"The folder of {path.name} cannot be read at the moment ({error.strerror}); connect it again, or put "
                "it back, then try again.",
            ) from None
        found += [now.st_mtime_ns, now.st_size]
    return found[0], found[1], found[2], found[3]


def _without_paths(error: SyndiffError, case: BrowseCase) -> SyndiffError:
    """The sentence with names in place of paths."""
    for path in (case.image, case.mask):
        error = renamed(error, path, path.name)
    return error
