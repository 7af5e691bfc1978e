"""Subjects of reviews without a dataset, and a phantom's first cases reviewed."""

import hashlib

from syndiff.reviews.events import Subject


def subject(case: str, *, content: str = "", shape: tuple[int, int] = (4, 6)) -> Subject:
    """A case that shows `content`."""
    return Subject(_hash("dataset"), "polyps", case, _hash(content or case), shape)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
