"""The phantom as a dataset folder."""

from pathlib import Path

import numpy as np
from PIL import Image

from syndiff.errors import SyndiffError
from syndiff.files import claimed, write_bytes, write_json, write_text
from syndiff.imaging import encode_png
from syndiff.phantom.instrument import draw_instrument
from syndiff.phantom.sequence import render_sequence

PNG_EFFORT = 4  # of zlib: half the time of its default for some percent of size
_ONE_CLASS = {"classes": {"1": "polyp"}, "mask_threshold": 127}
SMALLEST_SIDE = 64  # pixels; below it a small polyp is a handful of them


def write_phantom(
    root: Path | str,
    *,
    groups: int = 20,
    frames: int = 5,
    height: int = 288,
    width: int = 352,
    instruments: bool = False,
    seed: int = 0,
) -> None:
    """Write a synthetic colonoscopy dataset of `groups` sequences of `frames` frames of height x width to `root`.

    With `instruments` there are two classes, polyp and instrument, and masks hold 0 and their numbers, 1 and 2: a metal
    shaft enters most sequences from the edge, over everything. The frames below are the same.

    The bytes depend on the arguments alone, and a sequence on (seed, its number) alone: a larger phantom begins
    with the smaller one. Raises SyndiffError when `root` already holds something or a number makes no sense.

    >>> syndiff.write_phantom("phantom", groups=4, frames=1, height=64, width=80)
    >>> len(syndiff.Dataset.open("phantom").cases)
    4
    """
    root = Path(root)
    for name, value, least in (("groups", groups, 1), ("frames", frames, 1), ("seed", seed, 0)):
        if value < least:
            raise SyndiffError(f"A phantom with {name} {value} was asked for; {name} must be at least {least}.")
    if min(height, width) < SMALLEST_SIDE or max(height, width) > 2 * min(height, width):
        raise SyndiffError(
            f"A phantom of height {height} and width {width} was asked for; both must be at least {SMALLEST_SIDE}, "
            "and neither more than twice the other."
        )
    if (root / "dataset.json").is_file():
        raise SyndiffError(f"{root} already holds a dataset; a phantom is only written into a new or empty folder.")
    with claimed(root, "a phantom"):
        _write(root, groups, frames, height, width, instruments, seed)


def _write(root: Path, groups: int, frames: int, height: int, width: int, instruments: bool, seed: int) -> None:
    """Write the files, or those that a killed process left unwritten; dataset.json, the last, completes them."""
    group_lines, caption_lines = ["case,group"], ["case,caption"]
    for group in range(groups):
        for index, frame in enumerate(render_sequence(seed, group, frames, height, width)):
            case = f"sequence-{group + 1:03d}-frame-{index + 1:03d}"
            image, mask = frame.image, Image.fromarray(frame.mask.astype(np.uint8) * np.uint8(255))
            if instruments:
                image, tool = draw_instrument(frame.image, frame.window, seed, group, index)
                mask = Image.fromarray(np.where(tool, np.uint8(2), frame.mask.astype(np.uint8)))
            write_bytes(root / "images" / f"{case}.png", encode_png(image, compress_level=PNG_EFFORT))
            write_bytes(root / "masks" / f"{case}.png", encode_png(mask, compress_level=PNG_EFFORT))
            group_lines.append(f"{case},sequence-{group + 1:03d}")
            caption_lines.append(f'{case},"{frame.caption}"')
    write_text(root / "groups.csv", "\n".join(group_lines) + "\n")
    write_text(root / "captions.csv", "\n".join(caption_lines) + "\n")
    description = {
        "name": "SynDiff phantom with instruments" if instruments else "SynDiff phantom",
        "modality": "colonoscopy (procedural phantom)",
        **({"classes": {"1": "polyp", "2": "instrument"}} if instruments else _ONE_CLASS),
        "licence": "CC0",
        "images": groups * frames,
        "size": f"{width}x{height}",
        "source": f"rendered by SynDiff, seed {seed}",
    }
    write_json(root / "dataset.json", description)
