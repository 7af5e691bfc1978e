"""A page to browse the samples of a synthetic dataset folder, accepted and rejected, beside their pictures."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from syndiff import __version__
from syndiff.data.dataset import targets_in
from syndiff.data.readers import read_image
from syndiff.data.targets import Targets
from syndiff.data.written_masks import mask_extension, read_masks
from syndiff.documents import read_object
from syndiff.errors import SyndiffError
from syndiff.files import write_bytes, write_parts
from syndiff.imaging import class_colour, encode_png
from syndiff.report.figures import jpeg, likeness_plot
from syndiff.report.page import environment
from syndiff.synthesis.likeness import WORDS, Likeness, lesions_of
from syndiff.synthesis.manifest import Sample, read_manifest

_PREVIEWS = "previews"


PAGE = "synthesis.html"
"""Its name in the folder of the cases."""


@dataclass(frozen=True)
class _Filter:
    label: str
    count: int


@dataclass(frozen=True)
class _SampleCard:
    """A sample as the page shows it: paths relative to the page, words, and the numbers of the filters it passes."""

    id: str
    reason: str | None
    detail: str | None
    words: str | None
    origin: str
    scores: str
    filters: tuple[int, ...]
    image: str = ""
    shown: str = ""
    mask: str = ""
    width: int = 0
    height: int = 0


def build_synthesis_page(folder: Path) -> Path:
    """Write the page into a finished synthetic dataset folder; returns its path.

    The page names the pictures by relative paths, so it moves with its folder, and asks no other address. Browsers
    load them as one scrolls; 16-bit pictures, which they cannot show, are copied to previews/ as JPEG. The memory
    needed does not grow with the number of samples.

    Raises SyndiffError when the folder holds no manifest, and when a picture is missing.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise SyndiffError(f"{folder} holds no manifest.jsonl; make it with `syndiff synthesize`.")
    reasons, inpainter, measured = Counter[str](), "", False
    for sample in read_manifest(manifest):
        measured |= sample.caption is not None
        reasons[sample.reason or ""] += 1
        inpainter = sample.backend["name"]
    numbers = {reason: number for number, reason in enumerate(sorted(filter(None, reasons)), 3)}
    accepted, attempts = reasons[""], reasons.total()
    filters = [_Filter("all", attempts), _Filter("accepted", accepted), _Filter("rejected", attempts - accepted)]
    filters += [_Filter(reason, reasons[reason]) for reason in numbers]
    page = (
        environment()
        .get_template("synthesis.html")
        .generate(
            version=__version__,
            name=read_object(folder / "dataset.json", {"name": str})["name"],
            accepted=accepted,
            attempts=attempts,
            inpainter=inpainter,
            measured=measured,
            filters=filters,
            likeness=_likeness(folder),
            cards=_cards(folder, numbers, targets_in(folder)),
        )
    )
    path = folder / PAGE
    write_parts(path, (part.encode() for part in page))
    return path


@dataclass(frozen=True)
class _Comparison:
    """New and real lesions side by side: the figure, a row for each measure, and what it says in words."""

    figure: Markup
    rows: tuple[tuple[str, ...], ...]
    sentences: tuple[str, ...]
    quarters: tuple[Mapping[str, float], ...]


def _likeness(folder: Path) -> _Comparison | None:
    """Nothing where an earlier version made the folder, or nothing was accepted."""
    samples = list(read_manifest(folder / "manifest.jsonl"))
    lesions = lesions_of(folder, samples)
    if lesions is None:
        return None
    found, figure = Likeness.of(folder, samples), likeness_plot(*lesions)
    rows = []
    for name, each in found.measures.items():
        real_said, new_said = (" · ".join(f"{value:.3g}" for value in values) for values in (each.real, each.new))
        apart = "n/a" if each.distance is None else f"{each.distance:.2f}"
        rows.append((WORDS[name][0], real_said, new_said, apart, f"{each.chance:.2f}", f"{each.patients:.2f}"))
    return _Comparison(Markup(figure), tuple(rows), tuple(found.sentences), tuple(found.quarters))


def _cards(folder: Path, numbers: Mapping[str, int], targets: Targets) -> Iterator[_SampleCard]:
    for sample in read_manifest(folder / "manifest.jsonl"):
        picture = _picture(folder, sample, targets) if sample.source_case else {}
        yield _SampleCard(
            id=sample.id,
            reason=sample.reason,
            detail=sample.detail,
            words=sample.told,
            origin=_origin(sample),
            scores=", ".join(f"{name} {_words(value)}" for name, value in sample.gates.items()),
            filters=(2, numbers[sample.reason]) if sample.reason else (1,),
            **picture,
        )


def _origin(sample: Sample) -> str:
    if not sample.source_case:
        return ""
    replaced = sample.placement is not None and "replaced" in sample.placement
    removed = ", its own lesion painted over" if sample.removal or replaced else ""
    return f"frame {sample.source_case}{removed}, shape of {sample.mask_source}"


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "not measured" if value is None else str(value)


def _picture(folder: Path, sample: Sample, targets: Targets) -> dict[str, Any]:
    """Where a sample's picture, what is shown of it and its mask lie, and the picture's size."""
    part = Path() if sample.accepted else Path("rejected")
    names = [part / "images" / f"{sample.id}{extension}" for extension in (".png", ".tif")]
    image = next((name for name in names if (folder / name).is_file()), None)
    if image is None:
        raise SyndiffError(f"{folder / names[0]} does not exist; make the sample again with `syndiff synthesize`.")
    shown = image
    if image.suffix == ".tif":
        shown = Path(_PREVIEWS, f"{sample.id}.jpg")
        if not (folder / shown).is_file():
            write_bytes(folder / shown, jpeg(read_image(folder / image))[0])
    with Image.open(folder / shown) as opened:
        width, height = opened.size
    mask = part / "masks" / f"{sample.id}{mask_extension(targets)}"
    if targets.several:  # numbers and pages of classes are nothing to look at
        masks, mask = read_masks(folder / mask, targets), Path(_PREVIEWS, f"{sample.id}.mask.png")
        coloured = np.zeros((*masks.shape[1:], 3), np.uint8)
        for index, each in enumerate(masks):
            coloured[each] = class_colour(index)
        write_bytes(folder / mask, encode_png(coloured))
    return {
        "image": image.as_posix(),
        "shown": shown.as_posix(),
        "mask": mask.as_posix(),
        "width": width,
        "height": height,
    }
