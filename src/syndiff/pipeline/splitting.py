"""The split of a dataset: the one that is given, the one that lies there already, or the dataset's own."""

import logging
from collections.abc import Iterable
from pathlib import Path

from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split, make_split

FILE = "split.json"
"""Its name in the folder of everything that depends on it."""
log = logging.getLogger("syndiff")


def split(data: Path | str, *, method: str = "auto", seed: int = 0, progress: bool = True) -> Split:
    """Divide a dataset folder into training, validation and test cases; `write` keeps the split.

    `method` is auto (by group where groups are known), group, random, random-488 or pranet; the last two are leaky. The
    same seed and files give the same split on every machine. Raises SyndiffError for a dataset that cannot be used.

    >>> split = syndiff.split("my-polyps")
    >>> split.write("split.json")
    >>> set(split.train) & set(split.test)
    set()
    """
    return make_split(open_checked(Path(data), progress=progress), method=method, seed=seed)


def find_split(
    dataset: Dataset,
    given: Split | Path | str | None,
    out: Path,
    beside: Iterable[Path | str] = (),
    *,
    dry: bool = False,
) -> Split:
    """The split that what is made in `out` depends on, checked against the dataset.

    That is the one `given`; else the one that lies in `out`, from the same command before; else the one that a folder
    of `beside` was made with, such as an inpainter's run, if it is of this dataset; else the dataset's own: by group
    where groups are known, seed 0. What was not given is said; in a `dry` run only where it was found.

    Raises SyndiffError for a damaged split and for one that does not fit the dataset.
    """
    if given is None:
        found = next((path for path in _places(dataset, out, beside)), None)
        split = Split.read(found) if found else make_split(dataset)
        if found or not dry:
            log.info(f"{split}; {f'that of {found}' if found else f'to be kept as {out / FILE}'}")
    else:
        split = given if isinstance(given, Split) else Split.read(Path(given))
    split.check(dataset)
    return split


def _places(dataset: Dataset, out: Path, beside: Iterable[Path | str]) -> Iterable[Path]:
    if (out / FILE).is_file():
        yield out / FILE
    for folder in beside:
        path = Path(folder) / FILE
        if folder and path.is_file() and Split.read(path).fingerprint == dataset.fingerprint():
            yield path


def stored_split(dataset: Dataset, path: Path, *, method: str, seed: int) -> Split:
    """The split stored at `path`, checked against the dataset, or the one that would be written there."""
    if not path.is_file():
        return make_split(dataset, method=method, seed=seed)
    split = Split.read(path)
    split.check(dataset)
    return split
