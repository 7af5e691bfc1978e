"""One act of a reviewer: what it may hold, and what a review is of."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import Dataset
from syndiff.data.readers import image_content
from syndiff.data.targets import Targets
from syndiff.documents import digest
from syndiff.errors import SyndiffError, shown

REASONS = {
    "blurred": "more blurred, or sharper, than its surroundings",
    "colour": "of a colour that does not occur",
    "seam": "its border shows that it was put in",
    "shape": "of a shape that does not occur",
    "place": "where no lesion can be",
    "mask": "the mask does not fit what is seen",
    "artefact": "something that is no tissue",
    "other": "something else",
}
"""Why a case may be rejected, and what that means."""

KINDS = {
    "accept": "good enough to train on; value is empty",
    "reject": "not to be trained on; value is the reason",
    "rate": "how realistic it looks; value is 1 (not at all) to 5 (like a real one)",
    "correct": "a better mask, which is accepted; value is the SHA-256 of its PNG file",
    "guess": "an answer of a blind test; value is real or synthetic, and truth is what it was",
    "undo": "an earlier event of the same reviewer does not count; value is its id",
}
"""What a reviewer may do."""

ORIGINS = ("real", "synthetic")
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_FORMS = {"id": "[0-9a-f]{32}", "dataset": "[0-9a-f]{64}", "content": "[0-9a-f]{64}"}
_VALUES = {
    "accept": "",
    "reject": "|".join(REASONS),
    "rate": "[1-5]",
    "correct": "[0-9a-f]{64}",
    "guess": "|".join(ORIGINS),
    "undo": "[0-9a-f]{32}",
}
_LONGEST = 255
_AHEAD = timedelta(days=1)  # the clocks of two machines may differ, but not by more


@dataclass(frozen=True, kw_only=True)
class Event:
    """One row of the reviews.

    Attributes:
        id: 32 hexadecimal digits, drawn at random; the first 16 of a blind test's answers tell the test.
        time: when, in UTC, as `TIME` has it.
        reviewer: who.
        dataset: fingerprint of the dataset when the case was looked at (`Dataset.fingerprint`).
        name: the dataset's name, for people.
        case: the case's id.
        content: what the picture and the mask showed (`Subject.content`).
        kind: one of `KINDS`.
        value: what the kind asks for.
        truth: for a guess "real" or "synthetic", otherwise empty.

    Raises SyndiffError for a field that does not hold what it should, naming it.
    """

    id: str
    time: str
    reviewer: str
    dataset: str
    name: str
    case: str
    content: str
    kind: str
    value: str
    truth: str = ""

    def __post_init__(self) -> None:
        for name, form in _FORMS.items():
            if not re.fullmatch(form, getattr(self, name)):
                raise _wrong(name, getattr(self, name), f"{form[-3:-1]} hexadecimal digits in lower case")
        _check_name(self.reviewer)
        for name in ("name", "case"):
            _check_line(name, getattr(self, name))
        if self.kind not in KINDS:
            raise _wrong("kind", self.kind, f"one of {', '.join(KINDS)}")
        if not re.fullmatch(_VALUES[self.kind], self.value):
            raise _wrong("value", self.value, f"for {self.kind}: {KINDS[self.kind]}")
        if self.truth not in (ORIGINS if self.kind == "guess" else ("",)):
            raise _wrong("truth", self.truth, "real or synthetic for a guess, and nothing otherwise")
        self._check_time()

    def _check_time(self) -> None:
        try:
            then = datetime.strptime(self.time, TIME).replace(tzinfo=UTC)
        except ValueError:
            then = None
        if then is None or then.strftime(TIME) != self.time:
            raise _wrong("time", self.time, "UTC such as 2026-03-01T09:30:00.000000Z")
        if then > datetime.now(UTC) + _AHEAD:
            raise _wrong("time", self.time, "a time that is not to come")


@dataclass(frozen=True)
class Subject:
    """A case as it was looked at; the fields are those of `Event`. `shape` is height and width of the picture."""

    dataset: str
    name: str
    case: str
    content: str
    shape: tuple[int, int]


class Subjects:
    """The cases of a dataset folder as subjects of reviews. The dataset's fingerprint is taken once, at first need."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._fingerprint = ""

    def __getitem__(self, case_id: str) -> Subject:
        """The case as it lies on the disk now. Raises SyndiffError for an unknown one and files that are damaged."""
        self._fingerprint = self._fingerprint or self.dataset.fingerprint()
        content, shape = content_of(self.dataset, case_id)
        return Subject(self._fingerprint, self.dataset.name, case_id, content, shape)


def content_of(dataset: Dataset, case_id: str) -> tuple[str, tuple[int, int]]:
    """SHA-256 over what picture and mask of a case show, whatever files hold them, and the picture's height and width.

    Of several classes the mask of each counts, and its name. Raises SyndiffError for an unknown case and files that are
    damaged.
    """
    image, masks = dataset.load_classes(dataset[case_id])
    return content_shown(image, masks, dataset.told_apart), (masks.shape[1], masks.shape[2])


def content_shown(
    image: NDArray[np.uint8] | NDArray[np.uint16], masks: NDArray[np.bool_], targets: Targets | None = None
) -> str:
    """The SHA-256 of `content_of`, from picture (HxWx3) and masks (KxHxW) of `targets`, by default one foreground."""
    _, height, width = masks.shape
    names = targets.names if targets is not None and targets.several else ()
    return digest([image_content(image), height, width, *(np.packbits(mask).tobytes().hex() for mask in masks), *names])


def check_mask(subject: Subject, mask: NDArray[np.bool_]) -> None:
    """Raise SyndiffError for a corrected mask of another size than the picture's."""
    if mask.shape != subject.shape:
        found, (height, width) = " x ".join(map(str, mask.shape)), subject.shape
        raise SyndiffError(
            f"the corrected mask of {subject.case} is {found} (height x width) but its picture is {height} x {width}; "
            "give a mask of the picture's own size."
        )


def check_reviewer(name: str, known: Iterable[str] = ()) -> None:
    """Raise SyndiffError for a name that nobody may review under.

    It cannot stand in a table, holds characters that are not seen, or looks like another of the `known` names: one that
    differs in case, in spaces or in compatible letters alone (Unicode's NFKC).
    """
    _check_name(name)
    there = set(known)
    if name in there:
        return
    hidden = next((each for each in name if unicodedata.category(each) == "Cf"), None)
    if hidden is not None:
        raise SyndiffError(
            f"reviewer is {shown(name)}, with a character that is not seen (U+{ord(hidden):04X}); leave it out."
        )
    alike = sorted(each for each in there if _folded(each) == _folded(name))
    if alike:
        raise SyndiffError(
            f"reviewer is {shown(name)}, but {shown(alike[0])} has reviewed here; give that very name if it is yours, "
            "otherwise one that looks different."
        )


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def _check_name(name: str) -> None:
    """Raise SyndiffError for a name that cannot stand in a table."""
    _check_line("reviewer", name)
    if not name[0].isalnum() or name != name.strip():  # a spreadsheet takes =, +, - and @ for a formula's beginning
        raise _wrong("reviewer", name, "a name that begins with a letter or a digit, without spaces around it")


def _check_line(field: str, text: str) -> None:
    strange = any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text)
    if strange or not text.strip() or len(text.encode(errors="replace")) > _LONGEST:
        raise _wrong(field, text, f"a line of text of 1 to {_LONGEST} bytes")


def _wrong(field: str, found: str, expected: str) -> SyndiffError:
    return SyndiffError(f"{field} is {shown(found)}; expected {expected}.")
