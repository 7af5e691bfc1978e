"""Parameters and the time of one image of segmenter and control, for each vision encoder, in one run.

    python benchmarks/encoders.py --out results/segmenter-speed/encoders.json

Random weights serve: the time of a network does not depend on them. Each encoder is a process of its own, so that one
that does not fit the memory ends alone; segmenter and control take turns within it. The preset is compact, one view an
image; `--set` tries other settings, `--encoders` others than the list below. Takes about a minute for each encoder. The
machine should have nothing else to do: its load at the beginning is in the result.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from syndiff.config.loading import load_settings
from syndiff.config.settings import Settings
from syndiff.evaluation.timing import time_predictors
from syndiff.files import write_json
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter import initialise
from syndiff.training.run_folder import environment

ENCODERS = (
    *("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"),
    *("timm:resnet18", "timm:resnet50", "timm:efficientnet_b0", "timm:convnext_atto", "timm:convnext_tiny"),
    *("timm:pvt_v2_b0", "timm:pvt_v2_b2", "timm:swin_tiny_patch4_window7_224"),
    *("timm:vit_tiny_patch16_224", "timm:vit_small_patch14_dinov2", "timm:vit_small_patch16_dinov3"),
)


def measure(settings: Settings, repeats: int) -> dict[str, Any]:
    """Parameters, and milliseconds of an image of 256 x 256 pixels, of segmenter and control."""
    image = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    kinds = {"segmenter": "diffusion", "control": "control"}
    found: dict[str, Any] = {}
    predictors = []
    for name, kind in kinds.items():
        model = replace(settings.model, kind=kind, pretrained=False)
        network = initialise(model, 0)
        found[name] = {
            "parameters": sum(each.numel() for part in network.parts().values() for each in part.parameters()),
            "backbone_parameters": sum(each.numel() for each in network.backbone_part.parameters()),
        }
        predictors.append(SegmenterPredictor(network, model.image_size, name=name))
    for timing in time_predictors(predictors, image, repeats=repeats, warmup=3):
        found[timing["predictor"]]["milliseconds"] = timing["milliseconds"]
    return found


def table(found: dict[str, Any]) -> str:
    """The result in Markdown."""
    heads = (
        "| encoder | backbone, M | segmenter, M | segmenter, ms | control, M | control, ms |\n|---|---|---|---|---|---|"
    )
    rows = []
    for name, each in found.items():
        cells = [f"{each['segmenter']['backbone_parameters'] / 1e6:.1f}"]
        for kind in ("segmenter", "control"):
            median = each[kind]["milliseconds"]["total"]["median"]
            cells += [f"{each[kind]['parameters'] / 1e6:.1f}", f"{median:.1f}"]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([heads, *rows])


def main() -> None:
    """Measure each encoder in a process of its own, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--repeats", type=int, default=20, help="timed images of each network")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--set", nargs="+", default=[], help="settings that replace those of the preset compact")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        chosen = load_settings("compact", overrides=[*options.set, f"model.encoder={options.one}"])
        print(json.dumps(measure(chosen, options.repeats)))
        return
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "environment": environment(),
        "load_average_before": os.getloadavg()[0],
        "encoders": {},
    }
    for encoder in options.encoders:
        given = ["--repeats", str(options.repeats), *(["--set", *options.set] if options.set else [])]
        command = [sys.executable, __file__, "--one", encoder, *given]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result["encoders"][encoder] = json.loads(done.stdout.splitlines()[-1])
    print(table(result["encoders"]))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
