"""Does this dataset hold what it promises? Every file is read once, before anything is made of any."""

import hashlib
import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import Case, Dataset, any_class
from syndiff.data.listing import printable
from syndiff.data.masks import components
from syndiff.data.parallel import in_threads
from syndiff.data.readers import (
    StoredImage,
    StoredMask,
    conversion,
    distinct,
    image_content,
    read_stored_image,
)
from syndiff.errors import SyndiffError

Key = TypeVar("Key")

AREA_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

_SHOWN = 10  # how many problems are written out
_NEARLY_ALL = 0.95  # of an image: no lesion is so large
log = logging.getLogger("syndiff")


@dataclass(frozen=True)
class ClassFound:
    """What the masks of one class showed: `cases` have it, `area` and `lesions` are as in Inspection, of these."""

    cases: int
    area: tuple[float, ...]
    lesions: dict[int, int]


@dataclass(frozen=True)
class Inspection:
    """What reading every file of a dataset showed.

    `sizes` counts images by (width, height), `pixels` by stored bits and colour mode; `groups` counts cases
    by group and is None when groups are unknown. `lesion_area` holds the `AREA_QUANTILES` of the foreground's
    share of the image in [0, 1], over the masks that are not empty (empty tuple when all are); `lesions`
    counts cases by their number of connected (8-neighbour) foreground pieces. `empty_masks` are case ids.
    `problems` make the dataset unusable, `notes` are worth knowing. Unreadable cases are in `problems` only.
    `classes` has the figures of each class where there are several; those of the whole are of any class then.
    """

    name: str
    root: Path
    modality: str
    cases: int
    groups: dict[str, int] | None
    sizes: dict[tuple[int, int], int]
    pixels: dict[str, int]
    lesion_area: tuple[float, ...]
    lesions: dict[int, int]
    empty_masks: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    classes: dict[str, ClassFound] = field(default_factory=dict)

    @property
    def readable(self) -> int:
        """Number of cases whose image and mask could be read and go together."""
        return sum(self.sizes.values())

    @property
    def usable(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """Raise SyndiffError with the first problems when there are any."""
        if self.problems:
            rest = len(self.problems) - 3
            more = f" And {rest} more: see `syndiff data inspect`." if rest > 0 else ""
            raise SyndiffError(f"{self.root} is not usable. {' '.join(self.problems[:3])}{more}")

    def text(self) -> str:
        """The verdict with its statistics, as lines for a terminal."""
        lines = [
            f"Dataset      {self.name} ({self.root})",
            f"Modality     {self.modality or 'not given'}",
            f"Cases        {self.cases}",
            f"Groups       {self._groups_text()}",
            *(
                [f"Readable     {self.readable} of them; what follows counts these alone"]
                if self.readable < self.cases
                else []
            ),
            f"Sizes        {_most_common({f'{w}x{h}': n for (w, h), n in self.sizes.items()})}",
            f"Pixels       {_most_common(self.pixels)}",
            f"Lesion area  {_area_text(self.lesion_area)}{', of any class' if self.classes else ''}",
            f"Lesions      {_lesions_text(self.lesions)}{', those that touch as one' if self.classes else ''}",
            f"Empty masks  {len(self.empty_masks)}",
            *(
                f"Class {name}: in {found.cases} of {self.readable} cases; area {_area_text(found.area)}; lesions "
                f"{_lesions_text(found.lesions)}"
                for name, found in self.classes.items()
            ),
        ]
        if self.notes:
            lines += ["Notes", *(f"  - {note}" for note in self.notes)]
        if self.problems:
            lines += ["Problems", *(f"  - {problem}" for problem in self.problems[:_SHOWN])]
            if len(self.problems) > _SHOWN:
                lines.append(f"  - ... and {len(self.problems) - _SHOWN} more")
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        lines.append("Verdict: usable" if self.usable else f"Verdict: not usable: {count}, listed above")
        return "\n".join(lines)

    def _groups_text(self) -> str:
        if self.groups is None:
            return "unknown"
        members = sorted(self.groups.values())
        return f"{len(members)}, with {members[0]} to {members[-1]} cases (median {np.median(members):g})"


def _area_text(area: tuple[float, ...]) -> str:
    if not area:
        return "none"
    low, five, _, half, _, ninety_five, high = map(_percent, area)
    return f"median {half} of the image, from {low} to {high} (nine in ten: {five} to {ninety_five})"


def _lesions_text(lesions: dict[int, int]) -> str:
    if not lesions:
        return "none"
    counts = sorted(Counter(lesions).elements())
    return f"{counts[0]} to {counts[-1]} per case (median {np.median(counts):g}), {sum(counts)} in all"


@dataclass(frozen=True)
class _Facts:
    """What one readable case showed. `border` is the foreground's share of the outermost pixels, in [0, 1]."""

    case: Case
    size: tuple[int, int]
    mode: str
    bits: int
    brightest: int
    content: str
    turned: tuple[int, int]  # EXIF orientations of image and mask
    mask_values: tuple[int, ...]  # distinct, sorted
    one_bit_mask: bool
    mask_content: bytes
    area: float
    border: float
    lesions: int
    classes: tuple[tuple[float, int], ...]  # area and lesions of each, where there are several

    @property
    def looks_inverted(self) -> bool:
        """Whether the foreground holds most of the border and of the image, as a background does."""
        return 0.5 < self.area < 1 and self.border > 0.5


def open_checked(root: Path, *, progress: bool = True, whole: bool = False, one_class_for: str = "") -> Dataset:
    """Open a dataset folder and read every file of it once: the entrance of every verb that reads annotated cases.

    The notes of the inspection are logged, or its whole text. `progress` shows a bar on standard error.
    `one_class_for` names what asks, where it takes one class only.
    Raises SyndiffError as `Dataset.open` does, and for the problems that the inspection found.
    """
    dataset = Dataset.open(root)
    if one_class_for:
        mend = f"Give a dataset of one class, or set mask_threshold to 0 in {root / 'dataset.json'} to make them one."
        dataset.told_apart.refuse_several(one_class_for, mend)
    verdict = inspect(dataset, progress=progress)
    verdict.raise_for_problems()
    if whole:
        log.info(verdict.text())
    else:
        for note in verdict.notes:
            log.info("%s: %s", dataset.root, note)
    return dataset


def inspect(dataset: Dataset, progress: bool = False) -> Inspection:
    """Read every image and mask of a dataset and judge it. `progress` shows a bar on standard error.

    Damaged files, masks of another size, unexpected mask values and an all-empty mask set are reported in
    the result, never raised. At most four cases are in memory at once.
    """

    def read(case: Case) -> _Facts | SyndiffError:
        try:
            image, stored = read_stored_image(case.image), dataset.stored_masks(case)
            return _facts(case, image, stored, dataset.class_masks(case, image.samples, stored))
        except SyndiffError as error:
            return error

    read_cases = list(in_threads(read, dataset.cases, name="inspect", progress=progress))
    facts = [found for found in read_cases if isinstance(found, _Facts)]
    dataset.contents.update({fact.case.id: fact.content for fact in facts})
    return Inspection(
        name=dataset.name,
        root=dataset.root,
        modality=dataset.modality,
        cases=len(dataset.cases),
        groups=dict(Counter(str(case.group) for case in dataset.cases)) if dataset.has_groups else None,
        sizes=_count(facts, lambda fact: fact.size),
        pixels=_count(facts, _stored_as),
        lesion_area=_quantiles(fact.area for fact in facts),
        lesions=_count(facts, lambda fact: fact.lesions),
        empty_masks=tuple(fact.case.id for fact in facts if fact.area == 0),
        problems=(
            *(str(found) for found in read_cases if isinstance(found, SyndiffError)),
            *_set_problems(dataset, facts),
        ),
        notes=tuple(_notes(dataset, facts)),
        classes={name: _class_found(facts, index) for index, name in enumerate(dataset.targets)}
        if dataset.told_apart.several
        else {},
    )


def _class_found(facts: Sequence[_Facts], index: int) -> ClassFound:
    found = [fact.classes[index] for fact in facts if fact.classes[index][0]]
    counts = dict(Counter(lesions for _, lesions in found).most_common())
    return ClassFound(len(found), _quantiles(area for area, _ in found), counts)


def _quantiles(areas: Iterable[float]) -> tuple[float, ...]:
    """`AREA_QUANTILES` of the areas above 0; empty when there are none."""
    found = [area for area in areas if area > 0]
    return tuple(np.quantile(found, AREA_QUANTILES).tolist()) if found else ()


def _facts(case: Case, image: StoredImage, stored: tuple[StoredMask, ...], masks: NDArray[np.bool_]) -> _Facts:
    lesion = any_class(masks)
    height, width = lesion.shape
    border = np.concatenate([lesion[0], lesion[-1], lesion[:, 0], lesion[:, -1]])
    return _Facts(
        case=case,
        size=(width, height),
        mode=image.mode,
        bits=8 * image.samples.itemsize,
        brightest=int(image.samples.max()),
        content=image_content(image.samples),
        turned=(image.orientation, stored[0].orientation),
        mask_values=tuple(distinct(stored[0].values)),
        one_bit_mask=stored[0].values.dtype == np.bool_,
        mask_content=hashlib.sha256(np.packbits(masks).data).digest(),
        area=float(lesion.mean()),
        border=float(border.mean()),
        lesions=len(components(lesion)[1]),
        classes=tuple((float(each.mean()), len(components(each)[1])) for each in masks) if len(masks) > 1 else (),
    )


def _set_problems(dataset: Dataset, facts: Sequence[_Facts]) -> list[str]:
    """Problems that no single mask shows."""
    problems = []
    if facts and all(fact.area == 0 for fact in facts):
        highest = max(fact.mask_values[-1] for fact in facts)
        mend = (
            f"the highest value found is {highest} but mask_threshold is {dataset.mask_threshold}: "
            f"set it lower in {dataset.root / 'dataset.json'}."
            if highest
            else "there is nothing to learn: check how the masks were exported."
        )
        problems.append(f"{dataset.root / 'masks'}: all masks are empty; {mend}")
    if dataset.mask_threshold is None and not dataset.told_apart.several:
        grey = (fact for fact in reversed(facts) if fact.area > 0 and not fact.one_bit_mask)
        first = {fact.mask_values[-1]: fact.case for fact in grey}
        if len(first) > 1:
            found = ", ".join(f"{value} in {case.mask.name}" for value, case in sorted(first.items())[:3])
            problems.append(
                f"{dataset.root / 'masks'}: masks mark their foreground with different values ({found}); "
                f"set mask_threshold in {dataset.root / 'dataset.json'} (0 takes all but 0 as foreground)."
            )
    return problems


def _notes(dataset: Dataset, facts: Sequence[_Facts]) -> Iterable[str]:
    yield from _group_notes(dataset)
    if dataset.ignored:
        yield f"Ignored in images/ and masks/: {_names(path.name for path in dataset.ignored)}."
    yield from _image_notes(facts)
    yield from _mask_notes(dataset, facts)
    yield from _duplicates(facts)


def _group_notes(dataset: Dataset) -> Iterable[str]:
    if not dataset.has_groups:
        yield (
            "Groups are unknown: cases count as independent. Frames of one patient or video would then fall "
            "on both sides of a split and flatter every result; if you know them, list them in groups.csv "
            "(case,group)."
        )
        return
    groups = {str(case.group) for case in dataset.cases}
    if len(groups) < 3:
        yield f"A split into training, validation and test needs three groups; there are {len(groups)}."
    spellings = defaultdict(list)
    for group in sorted(groups):
        spellings[_spoken(group)].append(group)
    if alike := [" = ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]:
        yield (
            f"Groups that differ only in capitals, spaces, invisible characters or how a number is written: "
            f"{_names(alike)}. They count as several; if each is one patient or video, spell it alike in groups.csv."
        )


def _spoken(group: str) -> str:
    """A group's name without what a reader does not see: 1, 01 and 1.0 are one number, A and ａ one letter."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", group) if unicodedata.category(c) != "Cf")
    plain = "".join(plain.casefold().split())
    try:
        return f"{float(plain):g}"
    except ValueError:
        return plain


def _image_notes(facts: Sequence[_Facts]) -> Iterable[str]:
    by_mode = defaultdict(list)
    for fact in facts:
        by_mode[conversion(fact.mode)].append(fact.case.image.name)
    for colours, names in by_mode.items():
        if colours:
            yield f"Stored as {colours} and converted to RGB: {_names(names)}."
    deep = [fact.brightest for fact in facts if fact.bits == 16]
    if deep and max(deep) < 2**14:
        yield (
            f"16-bit images reach {max(deep)} of 65535 only and will look dark to a model; "
            "stretch them to the full range."
        )
    # where a quarter turn of an oblong picture was meant for one of the two, the sizes differ
    unsure = [
        fact.case.id
        for fact in facts
        if fact.turned[0] != fact.turned[1] and (max(fact.turned) < 5 or fact.size[0] == fact.size[1])
    ]
    if unsure:
        yield (
            f"An EXIF orientation turns or mirrors the image but not its mask, or the reverse: {_names(unsure)}. "
            "Look whether they lie on each other; if not, save both without it."
        )


def _mask_notes(dataset: Dataset, facts: Sequence[_Facts]) -> Iterable[str]:
    if empty := [fact.case.id for fact in facts if fact.area == 0]:
        yield f"Empty masks: {_names(empty)}."
    if dataset.told_apart.several:
        yield from _class_notes(dataset, facts)
    elif grey := [fact.case.mask.name for fact in facts if len(fact.mask_values) > 2]:
        yield (
            f"{len(grey)} of {len(facts)} masks hold more than two values ({_names(grey)}); mask_threshold "
            f"{dataset.mask_threshold} decides which are foreground."
        )
    if full := [fact.case.id for fact in facts if fact.area == 1]:
        yield f"Masks that cover the whole image: {_names(full)}."
    if facts and np.median([fact.area for fact in facts]) > 0.5:
        yield "Most masks cover more than half of the image: are background and foreground exchanged?"
    else:
        inverted = [fact.case.id for fact in facts if fact.looks_inverted]
        if inverted:
            yield (
                f"Masks that look inverted, since they hold most of the border and of the image: {_names(inverted)}. "
                "Are background and foreground exchanged there?"
            )
        large = [fact.case.id for fact in facts if _NEARLY_ALL <= fact.area < 1 and fact.case.id not in inverted]
        if large:
            yield f"Masks that cover nearly the whole image: {_names(large)}."
    if len(facts) > 1 and len({fact.mask_content for fact in facts}) == 1 and facts[0].area > 0:
        yield "All masks are identical: were they exported from different images?"


def _class_notes(dataset: Dataset, facts: Sequence[_Facts]) -> Iterable[str]:
    for index, name in enumerate(dataset.targets):
        found = [fact for fact in facts if fact.classes[index][0]]
        groups = {fact.case.group for fact in found} if dataset.has_groups else {fact.case.id for fact in found}
        if not found:
            yield f"The class {name} is in no mask, so nothing of it can be learnt: is it called for in dataset.json?"
        elif len(groups) < 3:
            of = "groups" if dataset.has_groups else "cases"
            yield f"The class {name} is in {len(groups)} {of}; for training, validation and test it takes three."


def _duplicates(facts: Sequence[_Facts]) -> Iterable[str]:
    by_content = defaultdict(list)
    for fact in facts:
        by_content[fact.content].append(fact.case)
    copies = [cases for cases in by_content.values() if len(cases) > 1]
    if copies:
        pairs = _names(" = ".join(case.id for case in cases) for cases in copies)
        yield f"The same image under several names: {pairs}. On both sides of a split it would leak."
    apart = [cases for cases in copies if len({case.group for case in cases}) > 1]
    if apart:
        pairs = _names(" = ".join(f"{case.id} ({case.group})" for case in cases) for cases in apart)
        yield f"Copies of one image in different groups, which a split by group does not keep together: {pairs}."


def _count(facts: Iterable[_Facts], key: Callable[[_Facts], Key]) -> dict[Key, int]:
    return dict(Counter(map(key, facts)).most_common())


def _stored_as(fact: _Facts) -> str:
    colours = "grey" if fact.mode.startswith(("I", "L")) else "RGB"
    return conversion(fact.mode) or f"{fact.bits}-bit {colours}"


def _most_common(counts: dict[str, int], shown: int = 3) -> str:
    listed = [f"{name} ({count})" for name, count in counts.items()]
    rest = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return (", ".join(listed[:shown]) + rest) or "none"


def _percent(share: float) -> str:
    """In [0, 1], with two digits."""
    return f"{float(f'{100 * share:.2g}'):g} %"


def _names(names: Iterable[str], shown: int = 5) -> str:
    listed = [printable(name) for name in names]
    rest = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + rest
