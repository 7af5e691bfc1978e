"""Masks as files: 0 and 255 for one foreground, class numbers for several, a page for each where they may overlap."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.readers import read_mask_values, read_stored_pages
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.imaging import encode_pages, encode_png


def mask_extension(targets: Targets) -> str:
    """That of a mask's file."""
    return ".tif" if targets.several and targets.overlap else ".png"


def encode_masks(masks_khw: NDArray[np.bool_], targets: Targets) -> bytes:
    """Masks (K, H, W) as a dataset folder has them, the content of a file with `mask_extension`."""
    if not targets.several:
        return encode_png(masks_khw[0])
    if not targets.overlap:
        return encode_png(Image.fromarray(targets.labels(masks_khw)))
    return encode_pages(masks_khw.astype(np.uint8) * np.uint8(255))


def read_masks(path: Path, targets: Targets) -> NDArray[np.bool_]:
    """What `encode_masks` made (K, H, W). Raises SyndiffError for a file that holds something else."""
    if targets.several and targets.overlap:
        return np.stack([page.values > 0 for page in read_stored_pages(path, targets.names)])
    values = read_mask_values(path)
    if not targets.several:
        return (values > 127)[None]
    if strange := set(np.unique(values).tolist()) - {0, *targets.numbers}:
        raise SyndiffError(f"{path} holds {min(strange)}, which is the number of no class of {targets}; make it anew.")
    return values == np.array(targets.numbers)[:, None, None]
