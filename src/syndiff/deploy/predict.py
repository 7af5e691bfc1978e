"""Masks for an image or a folder of images, one at a time, so memory does not grow with the folder."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from syndiff.data.readers import IMAGE_EXTENSIONS, read_image
from syndiff.errors import SyndiffError
from syndiff.files import write_bytes
from syndiff.models.prediction import SegmenterPredictor
from syndiff.training.checkpoints import best_checkpoint


def predict_images(
    run: Path,
    images: Path,
    out: Path,
    *,
    timestep: int | None = None,
    steps: int | None = None,
    views: int | None = None,
    seed: int = 0,
) -> int:
    """Write `out`/<stem>.png (0 background, 255 lesion, the image's own size) for every image; returns their number.

    `run` is a run folder (its best checkpoint is used) or a checkpoint folder. `timestep`, `steps` and
    `views` replace the model's own. Raises SyndiffError for a folder without images, two images of one stem, or a run
    without a model.
    """
    paths = _list_images(images)
    if out.resolve() == paths[0].parent.resolve():
        raise SyndiffError(
            f"{out} is the folder of the images; masks would overwrite them. Give another folder as --out."
        )
    checkpoint = run if (run / "model.json").is_file() else best_checkpoint(run)
    predictor = SegmenterPredictor.load(
        checkpoint, name=run.name, seed=seed, timestep=timestep, steps=steps, views=views
    )
    for path in tqdm(paths, desc="predicting", unit="image"):
        mask = predictor.predict(read_image(path), case_id=path.stem).mask
        buffer = io.BytesIO()
        Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(buffer, "PNG")
        write_bytes(out / f"{path.stem}.png", buffer.getvalue())
    return len(paths)


def _list_images(images: Path) -> list[Path]:
    if images.is_file():
        return [images]
    if not images.is_dir():
        raise SyndiffError(f"{images} does not exist; give an image or a folder of images.")
    paths = sorted(
        path for path in images.iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith(".")
    )
    if not paths:
        raise SyndiffError(f"{images} holds no images; expected files ending in {', '.join(sorted(IMAGE_EXTENSIONS))}.")
    stems = [path.stem for path in paths]
    double = {stem for stem in stems if stems.count(stem) > 1} if len(set(stems)) < len(stems) else set()
    if double:
        raise SyndiffError(
            f"{images} holds more than one image called {min(double)}; their masks would overwrite each other. "
            "Rename one of them."
        )
    return paths
