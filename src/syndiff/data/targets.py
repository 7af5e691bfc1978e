"""What a segmenter tells apart: one foreground, or several classes that exclude each other or may overlap. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.documents import check_object
from syndiff.errors import SyndiffError, shown

KEY = "targets"
"""In a model's description: what it tells apart, where that is more than one foreground."""

_MEND = "Restore the file, or train again."


@dataclass(frozen=True)
class Targets:
    """The classes of a dataset or a segmenter, in the order of their numbers.

    names: one for each class; a single foreground has the name of its class, else "foreground".
    numbers: the values that stand for them in written masks; 255 for a single foreground.
    overlap: whether a pixel may belong to several classes; without it the classes exclude each other.

    >>> Targets(("polyp", "instrument"), (1, 2)).labels(np.array([[[True, False]], [[False, True]]])).tolist()
    [[1, 2]]
    """

    names: tuple[str, ...] = ("foreground",)
    numbers: tuple[int, ...] = (255,)
    overlap: bool = False

    @property
    def count(self) -> int:
        """How many classes there are, K in shapes."""
        return len(self.names)

    @property
    def several(self) -> bool:
        """Whether there is more than one foreground."""
        return self.count > 1

    @property
    def exclusive(self) -> bool:
        """Whether there are several classes of which a pixel can have but one."""
        return self.several and not self.overlap

    @property
    def classes(self) -> dict[str, str]:
        """Names by number, as dataset.json has them."""
        return {str(number): name for number, name in zip(self.numbers, self.names, strict=True)}

    def decide(self, probability_khw: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Masks (K, H, W) of probabilities (K, H, W).

        Classes that exclude each other: the most probable of background and classes, the background having what is left
        of 1. Otherwise, each class where its probability is above 0.5, which for one class is the same.
        """
        if not self.exclusive:
            return probability_khw > np.float32(0.5)
        best = probability_khw.argmax(0)
        ahead = probability_khw.max(0) > 1 - probability_khw.sum(0)
        return (best == np.arange(self.count)[:, None, None]) & ahead

    def foreground(self, probability_khw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability (H, W) that a pixel belongs to any class: the sum, or where classes may overlap the largest."""
        if self.count == 1:
            return probability_khw[0]
        return probability_khw.max(0) if self.overlap else np.minimum(probability_khw.sum(0), np.float32(1))

    def labels(self, masks_khw: NDArray[np.bool_]) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Masks (K, H, W) of classes that exclude each other as one HxW array of 0 and `numbers`."""
        assert not self.overlap, "classes that overlap have a page each"
        kind = np.uint8 if max(self.numbers) < 256 else np.uint16
        labels = np.zeros(masks_khw.shape[1:], kind)
        for number, mask in zip(self.numbers, masks_khw, strict=True):
            labels[mask] = number
        return labels

    def described(self) -> dict[str, Any]:
        """What a model's description says of them; nothing for a single foreground."""
        return {KEY: self.told} if self.several else {}

    @property
    def told(self) -> dict[str, Any]:
        """As dataset.json has them: classes by number, and whether they may overlap."""
        return {"classes": self.classes, "overlap": self.overlap}

    @classmethod
    def of(cls, described: Mapping[str, Any], origin: object) -> "Targets":
        """What `described` gave, read from the JSON `origin`. Raises SyndiffError where it is damaged."""
        if KEY not in described:
            return cls()
        where = f"{origin}: {KEY}"
        told = check_object(where, described[KEY], {"classes": dict, "overlap": bool}, mend=_MEND)
        numbers, names = list(told["classes"]), list(told["classes"].values())
        if len(names) < 2 or not all(each.isdecimal() and isinstance(told["classes"][each], str) for each in numbers):
            raise SyndiffError(f"{where}.classes is {shown(told['classes'])}, expected two or more names. {_MEND}")
        return cls(tuple(names), tuple(map(int, numbers)), told["overlap"])

    def check_same(self, other: "Targets", what: str, whose: str) -> None:
        """Raise SyndiffError where `other`, those of `whose`, are not these of `what`; one foreground is any other."""
        if self.several or other.several:
            for mine, theirs in ((self.classes, other.classes), (self.overlap, other.overlap)):
                if mine != theirs:
                    raise SyndiffError(
                        f"{what} tells apart {self}, but {whose} has {other}: classes must have the same numbers and "
                        "names, and both may overlap, or neither. Change dataset.json, or give another folder."
                    )

    def refuse_several(self, what: str, mend: str) -> None:
        """Raise SyndiffError where there are several classes, which `what` does not take; `mend` says what to do."""
        if self.several:
            raise SyndiffError(f"{what} takes one class, but here are {self}. {mend}")

    def __str__(self) -> str:
        """For people: "1 polyp, 2 instrument (may overlap)"."""
        if not self.several:
            return f"one class, {self.names[0]}"
        listed = ", ".join(f"{number} {name}" for number, name in zip(self.numbers, self.names, strict=True))
        return f"{self.count} classes ({listed}{'; they may overlap' if self.overlap else ''})"
