"""From annotations to a dataset folder: pictures are decoded and masks drawn before the folder gets its name."""

import dataclasses
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from syndiff.data.decoding import MAX_PIXELS, upright
from syndiff.data.importing.annotations import Annotations, Item, as_stored
from syndiff.data.importing.choosing import Choice, choose
from syndiff.data.importing.naming import case_names, groups_by_pattern, groups_from_table, short_paths
from syndiff.data.importing.report import Report
from syndiff.data.importing.settings import ImportSettings
from syndiff.data.readers import IMAGE_EXTENSIONS, StoredImage, read_mask_values, read_stored_image
from syndiff.data.tables import write_table
from syndiff.errors import SyndiffError
from syndiff.files import write_bytes, write_json
from syndiff.imaging import encode_exactly, encode_png

_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_SHOWN = 10
_MAGIC = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"RIFF": ".webp",
}


def write_dataset(
    found: Annotations, source: Path, made: Path | None, settings: ImportSettings, *, progress: bool
) -> Report:
    """Write what a source holds as the dataset folder `made`; with None, do all the same but write nothing.

    Raises SyndiffError for labels, names or groups that do not fit, for cases that cannot be taken (the first of them
    are named; with `settings.skip` they are left out), and where nothing at all was drawn.
    """
    choice = choose(settings.classes, found)
    if not choice.classes:
        raise SyndiffError(_nothing(str(source), len(found.items), found.left))
    short = short_paths([item.name for item in found.items])
    cases = case_names(short)
    report = Report(found.tool, str(source), choice, left=found.left, notes=found.notes)
    problems: dict[str, str] = {}
    shown = tqdm(zip(cases, found.items, strict=True), "importing", len(cases), unit="case", disable=not progress)
    for case, item in shown:
        try:
            _take(case, item, choice, made, settings, report)
        except SyndiffError as error:
            problems[item.name] = str(error)
    if problems and not settings.skip:
        raise SyndiffError(_refused(problems, len(cases)))
    report.skipped = problems
    _check_drawn(report, found)
    taken = {case: path for case, path in zip(cases, short, strict=True) if case in report.names}
    report.groups = _groups(settings, taken, report.left)
    report.left.update(_unused(found, choice))
    if made is not None:
        _finish(made, report, found, settings)
    return report


def _take(case: str, item: Item, choice: Choice, made: Path | None, settings: ImportSettings, report: Report) -> None:
    """One case: its picture and its mask into the folder, its counts into the report."""
    content, suffix, image = _picture(item)
    planes, shapes, left = _draw(item, image, choice, settings)
    overlapping = int((planes.sum(axis=0, dtype=np.uint8) > 1).sum()) if len(planes) > 1 else 0
    if made is not None:
        if isinstance(content, Path):
            target = made / "images" / f"{case}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(content, target)
        else:
            write_bytes(made / "images" / f"{case}{suffix}", content)
        earlier = bool(report.overlapping)
        if overlapping and not earlier:
            for path in sorted((made / "masks").glob("*.png")):
                _to_pages(path, len(planes))
        _write_mask(made / "masks" / case, planes, pages=earlier or overlapping > 0)
    if overlapping:
        report.overlapping[case] = overlapping
    report.names[case] = item.name
    report.shapes.update(shapes)
    report.left.update(left)
    report.in_cases.update(number for number in choice.classes if planes[number - 1].any())
    if not planes.any():
        report.empty.append(case)


def _picture(item: Item) -> tuple[Path | bytes, str, StoredImage]:
    """The bytes that become the case's picture or the file that holds them, its extension, and what it shows."""
    if isinstance(item.image, bytes):
        suffix = next((kind for magic, kind in _MAGIC.items() if item.image.startswith(magic)), ".png")
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(item.image)
            file.flush()
            try:
                return item.image, suffix, read_stored_image(Path(file.name))
            except SyndiffError as error:
                raise SyndiffError(str(error).replace(file.name, f"{item.origin}: the picture inside it")) from None
    files = [as_stored(path) for path in (item.image if isinstance(item.image, tuple) else (item.image,))]
    for path in files:
        if not path.is_file():
            raise SyndiffError(f"{item.origin}: its picture {path} does not exist; put it there, or give --images.")
        if path.suffix.lower() not in IMAGE_EXTENSIONS:
            raise SyndiffError(
                f"{path}: files that end in {path.suffix or 'nothing'} are not read; save the picture as PNG, and name "
                f"it so in the annotations, or give it the right ending, one of {', '.join(sorted(IMAGE_EXTENSIONS))}."
            )
    if len(files) == 1:
        return files[0], files[0].suffix, read_stored_image(files[0])
    read = [read_stored_image(path) for path in files]
    shapes = {(image.samples.shape, image.samples.dtype) for image in read}
    if len(shapes) > 1 or any(image.orientation != 1 for image in read):
        raise SyndiffError(
            f"{files[0]}, {files[1].name} and {files[2].name} differ in size or in bits; save them alike."
        )
    if any((np.diff(image.samples.astype(np.int32), axis=2) != 0).any() for image in read):
        raise SyndiffError(f"{files[0]} is one of three channels but holds colours itself; save each as grey.")
    samples: NDArray = np.stack([image.samples[..., 0] for image in read], axis=2)
    content, suffix = encode_exactly(samples)
    return content, suffix, StoredImage(samples, "RGB", 1)


def _draw(
    item: Item, image: StoredImage, choice: Choice, settings: ImportSettings
) -> tuple[NDArray[np.bool_], Counter[int], Counter[str]]:
    """One plane of pixels a class (KxHxW, upright), how much was drawn of each class, and what was left."""
    height, width = image.samples.shape[:2]
    stored = _stored_frame(item, image, settings)
    if stored and image.orientation in _SIDEWAYS:
        height, width = width, height
    if len(choice.classes) * height * width > 10 * MAX_PIXELS:
        raise SyndiffError(
            f"{item.origin}: {len(choice.classes)} classes of {width}x{height} pixels do not fit into memory; choose "
            "fewer with --classes, or scale the picture down."
        )
    planes = np.zeros((len(choice.classes), height, width), np.bool_)
    shapes: Counter[int] = Counter()
    left: Counter[str] = Counter()
    for drawn in item.draw(height, width):
        window, mask = drawn.region.window, drawn.region.mask
        if drawn.label is None:
            planes[:, window[0], window[1]] &= ~mask
        elif drawn.label not in choice.numbers:
            left[f"drawn under the label {drawn.label!r}, which --classes does not name"] += 1
        elif not mask.any():
            left["drawn outside its picture or too thin to hold the centre of a pixel"] += 1
        else:
            number = choice.numbers[drawn.label]
            if settings.flatten:
                planes[:, window[0], window[1]] &= ~mask
            planes[number - 1][window] |= mask
            shapes[number] += 1
    if stored:
        planes = np.stack([upright(plane, image.orientation) for plane in planes])
    return planes, shapes, left


def _stored_frame(item: Item, image: StoredImage, settings: ImportSettings) -> bool:
    """Whether the annotation belongs to the picture as it is stored and not to the one that its EXIF turns upright.

    Raises SyndiffError where the annotation states another size than the picture's, or where that does not tell.
    """
    height, width = image.samples.shape[:2]
    seen, stored = (width, height), (height, width) if image.orientation in _SIDEWAYS else (width, height)
    stated = item.size()
    frames = {"turned": seen, "stored": stored}
    allowed = [name for name, frame in frames.items() if stated in (None, frame)]
    if settings.exif != "auto":
        allowed = [name for name in allowed if name == settings.exif]
    if not allowed:
        assert stated is not None
        and_turned = f", or {stored[0]}x{stored[1]} as it is stored" if stored != seen else ""
        raise SyndiffError(
            f"{item.origin}: annotated at {stated[0]}x{stated[1]} (width x height), but its picture is "
            f"{width}x{height}{and_turned}{'' if settings.exif == 'auto' else f' (--exif {settings.exif})'}; put the "
            "picture there that was annotated, at its own size."
        )
    if len(allowed) == 2 and image.orientation != 1:
        raise SyndiffError(
            f"{item.origin}: its picture bears the EXIF orientation {image.orientation}, and whether it was annotated "
            "as stored or turned upright cannot be told from its size; say so with --exif turned (what viewers and "
            "browsers show today) or --exif stored."
        )
    return allowed == ["stored"]


def _write_mask(stem: Path, planes: NDArray[np.bool_], *, pages: bool) -> None:
    """Class numbers as PNG, or a TIFF of one page a class: 0 and 255."""
    if not pages:
        numbers = np.arange(1, len(planes) + 1, dtype=np.uint8)
        values = (planes * numbers[:, None, None]).max(axis=0)
        write_bytes(stem.with_name(f"{stem.name}.png"), encode_png(values))
        return
    import tifffile

    stem.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(stem.with_name(f"{stem.name}.tif")) as file:
        for plane in planes:
            file.write(
                plane.astype(np.uint8) * np.uint8(255),
                photometric="minisblack",
                compression="zlib",
                contiguous=False,
                metadata=None,
                software=False,
            )


def _to_pages(path: Path, classes: int) -> None:
    """Write a mask of class numbers anew as pages."""
    values = read_mask_values(path)
    _write_mask(path.with_suffix(""), np.stack([values == number for number in range(1, classes + 1)]), pages=True)
    path.unlink()


def _refused(problems: dict[str, str], cases: int) -> str:
    """The sentence for cases that cannot be taken."""
    first = list(problems.values())[:_SHOWN]
    if len(problems) == 1:
        return f"{first[0]} Nothing was written; --skip leaves such cases out."
    more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    rows = "".join(f"\n  {problem}" for problem in first)
    return (
        f"{len(problems)} of {cases} cases cannot be taken:{rows}{more}\nNothing was written; --skip leaves them out."
    )


def _check_drawn(report: Report, found: Annotations) -> None:
    if not report.names:
        raise SyndiffError(f"{report.source}: no case could be taken. {next(iter(report.skipped.values()), '')}")
    if not report.shapes:
        raise SyndiffError(_nothing(report.source, len(report.names), report.left))
    if report.empty:
        report.notes.append(f"{len(report.empty)} pictures with nothing drawn on them are taken with an empty mask")


def _nothing(source: str, pictures: int, left: Counter[str]) -> str:
    """The sentence for annotations that mark nothing."""
    told = "; ".join(f"{count} x {what}" for what, count in left.items())
    return (
        f"{source}: nothing was drawn on any of the {pictures} pictures, so all masks would be empty."
        f"{f' Left: {told}.' if told else ''} Check the source and --classes."
    )


def _groups(settings: ImportSettings, paths: dict[str, str], left: Counter[str]) -> dict[str, str] | None:
    """The group of each case, whose picture's path is given; None where nothing says."""
    if settings.group_pattern:
        return groups_by_pattern(settings.group_pattern, paths)
    if not settings.groups:
        return None
    groups, other = groups_from_table(settings.groups, paths)
    if other:
        left[f"line of {settings.groups.rpartition(':')[0]} that names no picture"] = other
    return groups


def _unused(found: Annotations, choice: Choice) -> dict[str, int]:
    """Labels that the source lists and nobody drew, unless they are chosen."""
    drawn = found.labels or ()
    return {
        f"label {label!r}, which is declared but never drawn": 1
        for label in found.declared
        if label not in drawn and label not in choice.numbers
    }


def _finish(made: Path, report: Report, found: Annotations, settings: ImportSettings) -> None:
    """dataset.json, groups.csv and import.json."""
    description: dict[str, Any] = {**found.description}
    description["classes"] = {str(number): name for number, name in report.choice.classes.items()}
    if report.overlapping:
        description["overlap"] = True
    description["source"] = f"imported from {report.tool}: {Path(report.source).name}"
    write_json(made / "dataset.json", description)
    if report.groups is not None:
        write_table(made / "groups.csv", "group", [(case, report.groups[case]) for case in sorted(report.names)])
    options = {
        item.name: str(value) if isinstance(value := getattr(settings, item.name), Path) else value
        for item in dataclasses.fields(settings)
        if getattr(settings, item.name) != item.default
    }
    write_json(
        made / "import.json",
        report.content({key: list(v) if isinstance(v, tuple) else v for key, v in options.items()}),
    )
