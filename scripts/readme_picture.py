"""Draw docs/images/phantom-pipeline.jpg from a finished `make demo`: frame and label, synthetic case, predictions.

    python scripts/readme_picture.py --run runs/demo --data runs/demo-phantom

Only ever call it on the phantom: pictures of real data do not go into the repository.
"""

import argparse
import io
from pathlib import Path

import matplotlib
import numpy as np

from syndiff.data.dataset import Dataset
from syndiff.data.readers import read_mask
from syndiff.files import write_bytes
from syndiff.report.content import read_content
from syndiff.synthesis.manifest import read_manifest

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes


def panel(axes: Axes, image: np.ndarray, title: str, outlines: list[tuple[np.ndarray, str]]) -> None:
    """One image with coloured outlines."""
    axes.imshow(image)
    for mask, colour in outlines:
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.6)
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def main() -> None:
    """Pick the synthetic sample and the median test case, draw four panels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/images/phantom-pipeline.jpg"))
    parser.add_argument("--sample", type=int, default=0, help="which accepted synthetic sample to show")
    options = parser.parse_args()
    dataset = Dataset.open(options.data)
    content = read_content(options.run, dataset)
    synthetic = Dataset.open(options.run / "synthetic")
    samples = [s for s in read_manifest(options.run / "synthetic" / "manifest.jsonl") if s.accepted]
    chosen = samples[options.sample]
    arm = content.main
    rows = sorted(arm.rows, key=lambda row: row.metrics.dice)
    row = rows[len(rows) // 2]
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), dpi=110)
    source, source_mask = dataset.load(dataset[chosen.source_case])
    painted, painted_mask = synthetic.load(synthetic[chosen.id])
    test, annotated = dataset.load(dataset[row.case])
    predicted = read_mask(arm.masks / f"{row.case}.png", 127)
    panel(axes[0], source, "1  a training frame and its label", [(source_mask, "lime")])
    panel(axes[1], painted, "2  a new lesion, placed by a mask:\nthe mask is its label", [(painted_mask, "lime")])
    panel(axes[2], test, "3  a test frame nobody trained on", [])
    panel(
        axes[3],
        test,
        f"4  one-step prediction (cyan), label (green)\nDice {row.metrics.dice:.2f}, the median test case",
        [(annotated, "lime"), (predicted, "cyan")],
    )
    figure.tight_layout(pad=0.6)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="jpg", pil_kwargs={"quality": 88})
    write_bytes(options.out, encoded.getvalue())
    print(options.out)


if __name__ == "__main__":
    main()
