"""What a blended lesion costs by the size of the frame, and how far it lies from the solve over every pixel.

    python benchmarks/copy_paste_speed.py --data ../shared/data/cvc-clinicdb ../shared/data/kvasir-seg \
        --out results/synthesis-speed/copy_paste.json

Each of `--pairs` lesions, the largest of `--cases` drawn ones, is blended into the frame of the next one at its own
place, with the margin of copy_paste; frames are brought to each of `--widths`, the lesion's to the size of the other.
The phantom is rendered at each width. Times are CPU seconds (set OMP_NUM_THREADS=1) of `seamless` in
syndiff.synthesis.inpainters.copy_paste, as it is and with a direct solve over every pixel. Differences are between both
results, in grey levels of 255 before rounding, inside the mask; `rounded` is the share of 8-bit values there that
differ, `most_levels` by how much at most. `--pictures` keeps frame, lesion and both results side by side to look at; of
real data these must stay private.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from syndiff.data.dataset import Dataset
from syndiff.data.readers import to_unit
from syndiff.data.resize import resize_to
from syndiff.files import write_json
from syndiff.phantom import render_sequence
from syndiff.synthesis.inpainters import copy_paste, harmonic
from syndiff.synthesis.inpainters.copy_paste import CopyPaste, seamless
from syndiff.training.run_folder import environment

Annotated = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""A frame (HxWx3) and its lesion (HxW)."""


def drawn(folder: Path, count: int, rng: np.random.Generator) -> list[Annotated]:
    """Some cases of a dataset, as they are stored."""
    dataset = Dataset.open(folder)
    chosen = rng.permutation(len(dataset.cases))[:count]
    loaded = [dataset.load(dataset.cases[index]) for index in chosen]
    return [resize_to(image, mask, max(mask.shape)) for image, mask in loaded]


def rendered(count: int, width: int) -> list[Annotated]:
    """One frame of each of some phantom sequences, four by three."""
    frames = [render_sequence(0, group, 1, width * 3 // 4, width)[0] for group in range(count)]
    return [(frame.image, frame.mask) for frame in frames]


def to_size(case: Annotated, height: int, width: int) -> Annotated:
    """A case at exactly this size."""
    image, mask = (Image.fromarray(part.astype(np.uint8) * (255 if part.ndim == 2 else 1)) for part in case)
    size = (width, height)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC)), np.asarray(mask.resize(size)) >= 128


def largest(cases: list[Annotated], count: int) -> list[Annotated]:
    """The cases whose lesion covers most of the frame, but not all of it."""
    return sorted(cases, key=lambda case: -float(case[1].mean()))[:count]


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The lesion with copy_paste's margin around."""
    band = CopyPaste.capabilities.margin * np.sqrt(mask.sum() / np.pi)
    return ndimage.distance_transform_edt(~mask) <= max(2.0, band)


def timed(call: Any, *arguments: Any) -> tuple[NDArray[np.float32], float]:
    """What a call gives, and its CPU seconds: other work on the machine moves them little."""
    begin = time.process_time()
    return call(*arguments), time.process_time() - begin


def direct(*arguments: Any) -> NDArray[np.float32]:
    """`seamless` with one factorisation over every pixel."""
    kept = copy_paste.harmonic
    copy_paste.harmonic = lambda border, inside: harmonic.harmonic(border, inside, few=inside.size)
    try:
        return seamless(*arguments)
    finally:
        copy_paste.harmonic = kept


def blended(target: Annotated, source: Annotated) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """One lesion blended in both ways: the figures, and the pictures side by side."""
    frame, donor, mask = to_unit(target[0]), to_unit(source[0]), widened(source[1])
    quick, seconds = timed(seamless, frame, donor, mask)
    exact, direct_seconds = timed(direct, frame, donor, mask)
    apart = 255 * np.abs(quick - exact)[mask]
    levels = [np.rint(255 * picture).astype(np.int16) for picture in (quick, exact)]
    found = {
        "pixels": int(mask.sum()),
        "seconds": seconds,
        "direct_seconds": direct_seconds,
        "max": float(apart.max()),
        "mean": float(apart.mean()),
        "rounded": float((levels[0] != levels[1])[mask].mean()),
        "most_levels": int(np.abs(levels[0] - levels[1]).max()),
    }
    sheet = np.hstack([frame, donor, quick, exact])
    return found, np.rint(255 * sheet).astype(np.uint8)


def measure(options: argparse.Namespace, source: str, width: int) -> dict[str, Any]:
    """All pairs of a source at one width."""
    rng = np.random.default_rng(options.seed)
    if source == "phantom":
        cases = largest(rendered(options.cases, width), options.pairs)
    else:
        cases = largest(drawn(Path(source), options.cases, rng), options.pairs)
    rows = []
    for number, target in enumerate(cases):
        height = round(width * target[1].shape[0] / target[1].shape[1])
        pair = [to_size(case, height, width) for case in (target, cases[(number + 1) % len(cases)])]
        row, sheet = blended(*pair)
        rows.append(row)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sheet).save(options.pictures / f"{Path(source).name}-{width}-{number}.png")
    return {
        "source": Path(source).name,
        "width": width,
        "pixels": float(np.mean([row["pixels"] for row in rows])),
        "seconds": float(np.median([row["seconds"] for row in rows])),
        "seconds_at_most": max(row["seconds"] for row in rows),
        "direct_seconds": float(np.median([row["direct_seconds"] for row in rows])),
        "direct_seconds_at_most": max(row["direct_seconds"] for row in rows),
        "max": max(row["max"] for row in rows),
        "mean": float(np.mean([row["mean"] for row in rows])),
        "rounded": float(np.mean([row["rounded"] for row in rows])),
        "most_levels": max(row["most_levels"] for row in rows),
        "pairs": rows,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="dataset folders; the phantom is measured too")
    parser.add_argument("--widths", type=int, nargs="+", default=[384, 768, 1152, 1920])
    parser.add_argument("--cases", type=int, default=12, help="drawn of each source, of which the largest are taken")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="a folder for pictures to look at")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "environment": environment(),
        "load_average_before": os.getloadavg()[0],
        "options": {"widths": options.widths, "cases": options.cases, "pairs": options.pairs, "seed": options.seed},
        "measured": [],
    }
    for source in ("phantom", *map(str, options.data)):
        for width in options.widths:
            found = measure(options, source, width)
            result["measured"].append(found)
            print(
                f"{found['source']:14s} {width:5d} {found['pixels']:9.0f} pixels: {found['seconds']:6.2f} s, direct "
                f"{found['direct_seconds']:6.2f} s; apart at most {found['max']:.3f}, mean {found['mean']:.4f} levels, "
                f"{100 * found['rounded']:.1f} % round otherwise",
                flush=True,
            )
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
