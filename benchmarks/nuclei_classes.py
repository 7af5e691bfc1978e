"""A real dataset of two classes: the nuclei of DSB2018, their interior and their border.

    python benchmarks/nuclei_classes.py --nuclei ../shared/data/dsb2018-nuclei/fluorescence --out runs/nuclei-classes

Every nucleus has a number of its own in `instances/`. Its border is what lies within `--width` pixels of another
nucleus or of the background, the rest is its interior. What both classes tell together is where nuclei touch.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

INTERIOR, BORDER = 1, 2


def classes_of(instances: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """The mask of classes, H x W, of numbered nuclei. What the frame cuts off is no border."""
    ball = ndimage.generate_binary_structure(2, 1)
    around = ndimage.iterate_structure(ball, width)
    highest = ndimage.maximum_filter(instances, footprint=around, mode="nearest")
    lowest = ndimage.minimum_filter(instances, footprint=around, mode="nearest")
    border = (instances > 0) & (highest != lowest)
    return np.where(border, BORDER, np.where(instances > 0, INTERIOR, 0)).astype(np.uint8)


def main() -> None:
    """Write the dataset folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nuclei", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width", type=int, default=2)
    options = parser.parse_args()
    (options.out / "masks").mkdir(parents=True)
    shutil.copytree(options.nuclei / "images", options.out / "images")
    for path in sorted((options.nuclei / "instances").iterdir()):
        classes = classes_of(np.asarray(Image.open(path)), options.width)
        Image.fromarray(classes).save(options.out / "masks" / f"{path.stem}.png")
    about = json.loads((options.nuclei / "dataset.json").read_text(encoding="utf-8"))
    named = {"name": f"{about['name']}: interior and border", "modality": about["modality"]}
    classes_named = {"classes": {str(INTERIOR): "interior", str(BORDER): "border"}}
    (options.out / "dataset.json").write_text(json.dumps(named | classes_named, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
