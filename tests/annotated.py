"""Pictures to annotate, imports of them, and what an imported folder holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.importing import ImportSettings, import_dataset
from syndiff.data.importing.report import Report
from syndiff.errors import SyndiffError


def picture(path: Path, width: int = 12, height: int = 10, **saved: Any) -> Path:
    """A picture file with noise, the same for the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(path.name))
    Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path, **saved)
    return path


def mask_file(path: Path, values: Any, **saved: Any) -> Path:
    """A mask file of numbers (HxW) or colours (HxWx3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **saved)
    return path


def written(path: Path, content: Any) -> Path:
    """A JSON file, or a text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def survives(source: Path, format: Any, **options: Any) -> None:
    """Read and draw all of a source: done, or refused with words."""
    try:
        import_dataset(source, source.parent / "never", ImportSettings(format, **options), dry_run=True)
    except SyndiffError as error:
        assert len(str(error)) > 20
    assert not (source.parent / "never").exists()


def imported(source: Path, out: Path, format: Any, **options: Any) -> Report:
    """An import, as the command line makes it."""
    return import_dataset(source, out, ImportSettings(format, **options))


def drawn(out: Path) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """The masks of an imported folder, by case and class; every picture is read too."""
    dataset = Dataset.open(out)
    return {case.id: dict(zip(dataset.targets, dataset.load_classes(case)[1], strict=True)) for case in dataset.cases}


def box(top: int, left: int, bottom: int, right: int, width: int = 12, height: int = 10) -> NDArray[np.bool_]:
    """A mask (HxW) of rows `top` to `bottom` and columns `left` to `right`, the ends left out."""
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask
