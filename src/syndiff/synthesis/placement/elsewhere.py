"""Frames and lesions from other folders than the dataset's: lesion-free frames to paint into, lesions to lend."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from syndiff.data.dataset import Case, Dataset
from syndiff.data.listing import nfc
from syndiff.data.readers import IMAGE_EXTENSIONS
from syndiff.data.tables import read_table
from syndiff.errors import SyndiffError

FOREIGN = "backgrounds/"
"""Ids of frames from a folder of lesion-free frames start with it. No case's id holds a slash."""

LENT = "lesions/"
"""Ids of cases of another dataset that lends its lesions start with it."""


def is_elsewhere(case_id: str) -> bool:
    """Whether a manifest's case is none of the dataset's own."""
    return case_id.startswith((FOREIGN, LENT))


def lesion_free(folder: Path) -> list[Case]:
    """List a user's frames without lesions: a folder of images, or a dataset folder whose masks are empty.

    `folder` may hold groups.csv (`case,group`: patient or video), beside images/ or among the images; without it each
    frame is a group of its own. Raises SyndiffError for a folder that does not exist or holds no image, and for a
    groups.csv that does not fit.
    """
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return [_prefixed(case, FOREIGN) for case in Dataset.open(folder).cases]
    images = folder / "images" if (folder / "images").is_dir() else folder
    found = sorted(p for p in images.glob("*") if p.suffix.lower() in IMAGE_EXTENSIONS and p.name[0] != ".")
    if not found:
        raise SyndiffError(
            f"synthesis.backgrounds is {folder}, which holds no images; expected files that end in "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}, or a dataset folder with empty masks."
        )
    if twice := sorted({p.stem for p in found if sum(q.stem == p.stem for q in found) > 1}):
        raise SyndiffError(f"{images} holds two files named {twice[0]}; rename one.")
    groups: Mapping[str, str] = read_table(folder / "groups.csv", "group", [nfc(path.stem) for path in found])
    # without a mask of its own a frame names its image there
    return [_prefixed(Case(path.stem, path, path, groups.get(nfc(path.stem))), FOREIGN) for path in found]


def open_lender(folder: Path) -> Dataset:
    """Open the dataset whose lesions are to be lent; SyndiffError for a folder that is none, and a synthetic one."""
    if (folder / "manifest.jsonl").exists():
        raise SyndiffError(
            f"synthesis.lesions is {folder}, a synthetic dataset (it has a manifest.jsonl); give one of real cases."
        )
    return Dataset.open(folder)


def lent_cases(lender: Dataset) -> list[Case]:
    """The cases of a dataset that lends its lesions, named so that they are told from the dataset's own."""
    return [_prefixed(case, LENT) for case in lender.cases]


def _prefixed(case: Case, prefix: str) -> Case:
    return replace(case, id=prefix + case.id, group=prefix + (case.group or case.id))
