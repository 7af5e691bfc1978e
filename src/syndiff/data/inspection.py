"""Does this dataset hold what it promises? Every file is read; the verdict is text, the sheet a picture."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage
from tqdm import tqdm

from syndiff.data.dataset import Case, DatasetFolder
from syndiff.data.readers import conversion, read_image, read_mask_values, read_mode
from syndiff.errors import SyndiffError
from syndiff.files import check_output, sha256, write_output

Key = TypeVar("Key")

AREA_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

_CONNECTIVITY = np.ones((3, 3), bool)  # pixels that touch at a corner are one lesion
_SHOWN = 10  # how many problems are written out
_CELL_WIDTH, _CELL_HEIGHT, _LABEL_HEIGHT, _COLUMNS = 240, 180, 18, 6
_MADE_BY = "SynDiff data inspect"  # in every sheet, so that it may be drawn anew
_OUTLINE = (0, 255, 255)  # cyan is found neither in the bowel nor in stained tissue


@dataclass(frozen=True)
class Inspection:
    """What reading every file of a dataset showed.

    `sizes` counts images by (width, height), `pixels` by stored bits and colour mode; `groups` counts cases
    by group and is None when groups are unknown. `lesion_area` holds the `AREA_QUANTILES` of the foreground's
    share of the image in [0, 1], over the masks that are not empty (empty tuple when all are); `lesions`
    counts cases by their number of connected (8-neighbour) foreground pieces. `empty_masks` are case ids.
    `problems` make the dataset unusable, `notes` are worth knowing. Unreadable cases are in `problems` only.
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
            f"Sizes        {_most_common({f'{w}x{h}': n for (w, h), n in self.sizes.items()})}",
            f"Pixels       {_most_common(self.pixels)}",
            f"Lesion area  {self._area_text()}",
            f"Lesions      {self._lesions_text()}",
            f"Empty masks  {len(self.empty_masks)}",
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

    def _area_text(self) -> str:
        if not self.lesion_area:
            return "none"
        low, five, _, half, _, ninety_five, high = (f"{100 * share:.2g} %" for share in self.lesion_area)
        return f"median {half} of the image, from {low} to {high} (nine in ten: {five} to {ninety_five})"

    def _lesions_text(self) -> str:
        if not self.lesions:
            return "none"
        counts = sorted(Counter(self.lesions).elements())
        return f"{counts[0]} to {counts[-1]} per case (median {np.median(counts):g}), {sum(counts)} in all"


@dataclass(frozen=True)
class _Facts:
    """What one readable case showed."""

    case: Case
    size: tuple[int, int]
    mode: str
    bits: int
    brightest: int
    image_hash: str
    mask_values: tuple[int, ...]  # distinct, sorted
    one_bit_mask: bool
    area: float
    lesions: int


def inspect(dataset: DatasetFolder, progress: bool = False) -> Inspection:
    """Read every image and mask of a dataset and judge it. `progress` shows a bar on standard error.

    Damaged files, masks of another size, unexpected mask values and an all-empty mask set are reported in
    the result, never raised.
    """
    facts: list[_Facts] = []
    problems: list[str] = []
    for case in tqdm(dataset.cases, desc="inspect", unit="case", disable=not progress):
        try:
            facts.append(_read(dataset, case))
        except SyndiffError as error:
            problems.append(str(error))
    areas = [fact.area for fact in facts if fact.area > 0]
    return Inspection(
        name=dataset.name,
        root=dataset.root,
        modality=dataset.modality,
        cases=len(dataset.cases),
        groups=dict(Counter(str(case.group) for case in dataset.cases)) if dataset.has_groups else None,
        sizes=_count(facts, lambda fact: fact.size),
        pixels=_count(facts, _stored_as),
        lesion_area=tuple(np.quantile(areas, AREA_QUANTILES).tolist()) if areas else (),
        lesions=_count(facts, lambda fact: fact.lesions),
        empty_masks=tuple(fact.case.id for fact in facts if fact.area == 0),
        problems=(*problems, *_set_problems(dataset, facts)),
        notes=tuple(_notes(dataset, facts)),
    )


def _read(dataset: DatasetFolder, case: Case) -> _Facts:
    image, values = read_image(case.image), read_mask_values(case.mask)
    mask = dataset.foreground(case, image, values)
    return _Facts(
        case=case,
        size=(image.shape[1], image.shape[0]),
        mode=read_mode(case.image),
        bits=8 * image.itemsize,
        brightest=int(image.max()),
        image_hash=sha256(case.image),
        mask_values=tuple(int(value) for value in np.unique(values)),
        one_bit_mask=values.dtype == np.bool_,
        area=float(mask.mean()),
        lesions=int(ndimage.label(mask, _CONNECTIVITY)[1]),
    )


def _set_problems(dataset: DatasetFolder, facts: Sequence[_Facts]) -> list[str]:
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
    if dataset.mask_threshold is None:
        grey = (fact for fact in reversed(facts) if fact.area > 0 and not fact.one_bit_mask)
        first = {fact.mask_values[-1]: fact.case for fact in grey}
        if len(first) > 1:
            found = ", ".join(f"{value} in {case.mask.name}" for value, case in sorted(first.items())[:3])
            problems.append(
                f"{dataset.root / 'masks'}: masks mark their foreground with different values ({found}); "
                f"set mask_threshold in {dataset.root / 'dataset.json'} (0 takes all but 0 as foreground)."
            )
    return problems


def _notes(dataset: DatasetFolder, facts: Sequence[_Facts]) -> Iterable[str]:
    if not dataset.has_groups:
        yield (
            "Groups are unknown: cases count as independent. Frames of one patient or video would then fall "
            "on both sides of a split and flatter every result; if you know them, list them in groups.csv "
            "(case,group)."
        )
    elif len(groups := {case.group for case in dataset.cases}) < 3:
        yield f"A split into training, validation and test needs three groups; there are {len(groups)}."
    if dataset.ignored:
        yield f"Ignored in images/ and masks/: {_names(path.name for path in dataset.ignored)}."
    if empty := [fact.case.id for fact in facts if fact.area == 0]:
        yield f"Empty masks: {_names(empty)}."
    by_mode = defaultdict(list)
    for fact in facts:
        by_mode[conversion(fact.mode)].append(fact.case.image.name)
    for colours, names in by_mode.items():
        if colours:
            yield f"Stored as {colours} and converted to RGB: {_names(names)}."
    if grey := [fact.case.mask.name for fact in facts if len(fact.mask_values) > 2]:
        yield (
            f"{len(grey)} of {len(facts)} masks hold more than two values; mask_threshold "
            f"{dataset.mask_threshold} decides which are foreground."
        )
    if facts and np.median([fact.area for fact in facts]) > 0.5:
        yield "Most masks cover more than half of the image: are background and foreground exchanged?"
    deep = [fact.brightest for fact in facts if fact.bits == 16]
    if deep and max(deep) < 2**14:
        yield (
            f"16-bit images reach {max(deep)} of 65535 only and will look dark to a model; "
            "stretch them to the full range."
        )
    yield from _duplicates(facts)


def _duplicates(facts: Sequence[_Facts]) -> Iterable[str]:
    by_hash = defaultdict(list)
    for fact in facts:
        by_hash[fact.image_hash].append(fact.case)
    copies = [cases for cases in by_hash.values() if len(cases) > 1]
    if copies:
        pairs = _names(" = ".join(case.id for case in cases) for cases in copies)
        yield f"The same image file under several names: {pairs}. On both sides of a split it would leak."


def _count(facts: Iterable[_Facts], key: Callable[[_Facts], Key]) -> dict[Key, int]:
    return dict(Counter(map(key, facts)).most_common())


def _stored_as(fact: _Facts) -> str:
    colours = "grey" if fact.mode.startswith(("I", "L")) else "RGB"
    return conversion(fact.mode) or f"{fact.bits}-bit {colours}"


def _most_common(counts: dict[str, int], shown: int = 3) -> str:
    listed = [f"{name} ({count})" for name, count in counts.items()]
    rest = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return (", ".join(listed[:shown]) + rest) or "none"


def _names(names: Iterable[str], shown: int = 5) -> str:
    listed = list(names)
    rest = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + rest


def contact_sheet(dataset: DatasetFolder, path: Path, *, count: int = 24, seed: int = 0) -> None:
    """Draw cases with their masks outlined in cyan as a grid of thumbnails, and write it to `path` as PNG.

    `count` cases (or all, when there are fewer) are drawn at random, one from each of `count` equal stretches
    of the sorted cases; the same seed gives the same cases and bytes.

    Raises SyndiffError for a case that cannot be read, a `count` below 1, and a `path` that holds another file.
    """
    if count < 1:
        raise SyndiffError(f"A contact sheet of {count} cases was asked for; expected 1 or more.")
    count = min(count, len(dataset.cases))
    stretches = (np.arange(count) + np.random.default_rng(seed).random(count)) / count
    chosen = [dataset.cases[int(position * len(dataset.cases))] for position in stretches]
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * _CELL_WIDTH, rows * (_CELL_HEIGHT + _LABEL_HEIGHT)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, case in enumerate(chosen):
        tile = _tile(*dataset.load(case))
        left = index % columns * _CELL_WIDTH
        top = index // columns * (_CELL_HEIGHT + _LABEL_HEIGHT)
        sheet.paste(tile, (left + (_CELL_WIDTH - tile.width) // 2, top + (_CELL_HEIGHT - tile.height) // 2))
        label = case.id if len(case.id) <= 32 else f"{case.id[:31]}…"
        middle = (left + _CELL_WIDTH // 2, top + _CELL_HEIGHT + _LABEL_HEIGHT // 2)
        pen.text(middle, label, fill="black", font=ImageFont.load_default(12), anchor="mm")
    content = io.BytesIO()
    made = PngInfo()
    made.add_text("Software", _MADE_BY)
    sheet.save(content, "PNG", pnginfo=made)
    write_output(path, content.getvalue(), made_by_us=_is_sheet, what="a contact sheet")


def check_sheet(path: Path) -> None:
    """Raise SyndiffError where `contact_sheet` would not write to `path`: another file is there."""
    check_output(path, made_by_us=_is_sheet, what="a contact sheet")


def _is_sheet(start: bytes) -> bool:
    return _MADE_BY.encode() in start


def _tile(image: NDArray[np.uint8] | NDArray[np.uint16], mask: NDArray[np.bool_]) -> Image.Image:
    """A thumbnail that fits a cell, the outline drawn just outside of the mask."""
    if image.dtype == np.uint16:  # often 10 or 12 bits in 16: shown by its own brightest value
        image = (image / max(1, int(image.max())) * 255).astype(np.uint8)
    height, width = mask.shape
    scale = min((_CELL_WIDTH - 6) / width, (_CELL_HEIGHT - 6) / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tile = np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    # the share of foreground under every pixel: even a lesion of one pixel keeps an outline
    inside = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX)) > 0
    tile[ndimage.binary_dilation(inside, _CONNECTIVITY) & ~inside] = _OUTLINE
    return Image.fromarray(tile)
