"""A dataset of lesion-free frames with empty masks, cut to their field of view as synthesis cuts them.

    python benchmarks/unpainted_frames.py --lesion-free ../shared/data/lesion-free --lesion my-polyps --out frames

One case of another dataset, its first, comes with them: a dataset without any lesion is refused. For `syndiff study
low-data --others`: what the frames of a synthetic set do before anything is painted into them.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.readers import read_image
from syndiff.files import write_json
from syndiff.synthesis.placement.field import view_box


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--lesion-free", "--lesion", "--out"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    for folder in ("images", "masks"):
        (options.out / folder).mkdir(parents=True)
    frames = {path.stem: read_image(path) for path in sorted((options.lesion_free / "images").iterdir())}
    cases = {name: (frame[view_box(frame)], None) for name, frame in frames.items()}
    dataset = Dataset.open(options.lesion)
    cases["one-lesion"] = dataset.load(dataset.cases[0])
    for name, (image, mask) in cases.items():
        drawn = np.zeros(image.shape[:2], np.uint8) if mask is None else 255 * mask.astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(image)).save(options.out / "images" / f"{name}.png")
        Image.fromarray(drawn).save(options.out / "masks" / f"{name}.png")
    write_json(options.out / "dataset.json", {"name": "lesion-free-unpainted"})


if __name__ == "__main__":
    main()
