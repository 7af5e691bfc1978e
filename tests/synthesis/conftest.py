"""A small dataset with what matters to placement: a dark border, groups, lesions of several shapes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from syndiff.data.dataset import Dataset

HEIGHT, WIDTH = 72, 96


def draw_case(seed: int, lesion: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """An HxWx3 uint8 frame with a dark border and, if wanted, a brighter ellipse, and its HxW mask."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frame = 110 + 40 * np.sin(rows / rng.uniform(8, 20))[..., None] + rng.normal(0, 4, (HEIGHT, WIDTH, 3))
    row, column = rng.uniform(20, HEIGHT - 20), rng.uniform(24, WIDTH - 24)
    radii = rng.uniform(5, 9, 2)
    mask = ((rows - row) / radii[0]) ** 2 + ((columns - column) / radii[1]) ** 2 < 1
    if not lesion:
        mask[:] = False
    frame[mask] += (70, 20, 10)
    outside = (np.abs(rows - HEIGHT / 2) > HEIGHT / 2 - 5) | (np.abs(columns - WIDTH / 2) > WIDTH / 2 - 8)
    frame[outside] = 6
    return np.clip(frame, 0, 255).astype(np.uint8), mask


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """Write a dataset folder of `cases` frames, two to a group, and open it."""

    def make(
        cases: int = 8, *, lesions: bool = True, groups: bool = True, deep: bool = False, name: str = "data"
    ) -> Dataset:
        root = tmp_path / name
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
        for i in range(cases):
            image, mask = draw_case(i, lesions)
            if deep:
                tifffile.imwrite(root / f"images/c{i}.tif", image.astype(np.uint16) * 257, photometric="rgb")
            else:
                Image.fromarray(image).save(root / f"images/c{i}.png")
            Image.fromarray(mask).save(root / f"masks/c{i}.png")
        if groups:
            lines = ["case,group", *(f"c{i},g{i // 2}" for i in range(cases))]
            (root / "groups.csv").write_text("\n".join(lines) + "\n")
        (root / "dataset.json").write_text('{"name": "tiny", "modality": "endoscopy", "classes": {"1": "polyp"}}')
        return Dataset.open(root)

    return make
