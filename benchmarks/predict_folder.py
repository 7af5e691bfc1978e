"""`syndiff predict` on a folder beside the bare model: how much of the model's speed is left, and what memory it takes.

    python benchmarks/predict_folder.py --out results/predict/folder_of_images.json

Speed: the model alone on pictures that are in memory, and the verb from files to files, one after the other in rounds
of one process, so that both meet the same machine; loading the model is not counted. Memory: a process of its own for
each number of images, with a tiny model, since that of the model does not depend on their number. The folders hold
eight phantom frames of 384 x 288 pixels under many names. Random weights serve unless `--run` names a model.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from predict import measured, random_run

import syndiff
from syndiff.data.readers import read_image
from syndiff.files import claimed, write_json
from syndiff.inference.formats.base import Frame
from syndiff.inference.inputs import KIND, Input, find_inputs
from syndiff.inference.predict import predict_into
from syndiff.models.prediction import model_description
from syndiff.models.predictor import Prediction, SquarePredictor
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.tensors import trainable_state, write_tensors
from syndiff.phantom import write_phantom
from syndiff.training.run_folder import environment


def tiny_run(folder: Path) -> Path:
    """A checkpoint of a small network with random weights."""
    settings = SegmenterSettings(image_size=32, pretrained=False, condition_channels=8, denoiser_channels=8)
    model = initialise(settings, 0)
    write_tensors(folder / "model.safetensors", trainable_state(model))
    write_json(folder / "model.json", model_description(settings, model, step=0, val_dice=0.0))
    return folder


def folder_of(count: int, frames: list[Path], folder: Path) -> Path:
    """`count` names of a few frames."""
    folder.mkdir()
    for number in range(count):
        frame = frames[number % len(frames)]
        os.link(frame, folder / f"{number:06d}{frame.suffix}")
    return folder


def clocks() -> np.ndarray:
    """Seconds of the clock on the wall and of all CPUs by this process: the second one is not disturbed by others."""
    return np.array([time.perf_counter(), time.process_time()])


def speed(predictor: SquarePredictor, frames: list[Path], scratch: Path, *, count: int, rounds: int) -> dict[str, Any]:
    """Images a second of the model alone and of the verb, in each round."""
    images = [read_image(frame) for frame in frames]
    each = count // rounds
    found: list[np.ndarray] = []

    def segment(file: Input, frame: Frame) -> Prediction:
        return predictor.predict(frame.image, case_id=file.stem)

    for number in range(rounds):
        folder, out = folder_of(each, frames, scratch / f"round-{number}"), scratch / f"masks-{number}"
        start = clocks()
        for case in range(each):
            predictor.predict(images[case % len(images)], case_id=f"{case:06d}")
        bare = clocks() - start
        start = clocks()
        with claimed(out, KIND):
            outcome = predict_into(
                out, find_inputs(folder, out), {"engine": "benchmark"}, segment, frozenset(), progress=False
            )
        verb = clocks() - start
        assert outcome.written == each, outcome.problems
        found.append(np.stack([each / bare[0], each / verb[0], bare[1] / each * 1e3, verb[1] / each * 1e3]))
    names = ("bare_images_per_second", "verb_images_per_second", "bare_cpu_ms_an_image", "verb_cpu_ms_an_image")
    bare, verb = (sum(1 / found_in[number] for found_in in found) for number in (0, 1))
    return {
        "images": each * rounds,
        "rounds": [dict(zip(names, one.tolist(), strict=True)) for one in found],
        "verb_over_bare": float(bare / verb),
    }


def memory(counts: list[int], frames: list[Path], scratch: Path) -> dict[int, dict[str, float]]:
    """Seconds and peak memory of the verb as a process, for each number of images."""
    run, result = tiny_run(scratch / "tiny"), {}
    for count in counts:
        folder = folder_of(count, frames, scratch / f"images-{count}")
        command = [sys.executable, "-m", "syndiff", "predict", "--run", str(run), "--images", str(folder)]
        result[count] = measured([*command, "--out", str(scratch / f"masks-of-{count}"), "--tta", "1"])
    return result


def main() -> None:
    """Measure, print, and write where asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run, a checkpoint or an exported model; without it random weights")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--tta", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000, help="images of the speed")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--memory", nargs="*", type=int, default=[1000, 10_000], help="images of each process")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        write_phantom(scratch / "phantom", groups=2, frames=4, height=288, width=384, seed=0)
        frames = sorted((scratch / "phantom" / "images").iterdir())
        run = options.run or random_run(scratch / "run")
        predictor = syndiff.load(run, engine=options.engine, tta=options.tta)
        predictor.predict(read_image(frames[0]))  # the first one takes longer
        result: dict[str, Any] = {
            "environment": environment(),
            "engine": predictor.engine.name,
            "tta": options.tta,
            "load_average_before": os.getloadavg()[0],
            "speed": speed(predictor, frames, scratch, count=options.count, rounds=options.rounds),
            "memory": memory(options.memory, frames, scratch),
        }
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
