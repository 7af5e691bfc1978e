"""`syndiff predict` on a folder beside the bare model: how much of the model's speed is left, and what memory it takes.

    python benchmarks/predict_folder.py --out results/predict/folder_of_images.json

Speed: the model alone on pictures that are in memory (one after another with all threads on each, and in as many
threads as the verb has), and the verb from files to files, in rounds of one process, so that all meet the same machine;
loading the model is not counted. Memory: a process of its own for
each number of images, with a tiny model, since that of the model does not depend on their number. The folders hold
eight phantom frames of 384 x 288 pixels under many names. Random weights serve unless `--run` names a model.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from predict import measured, random_run

from syndiff.data.readers import read_image
from syndiff.files import claimed, write_json
from syndiff.inference.engines import threads
from syndiff.inference.formats.base import Frame
from syndiff.inference.inputs import KIND, Input, find_inputs
from syndiff.inference.load import load_for
from syndiff.inference.options import Options
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


def speed(run: Path, options: Options, frames: list[Path], scratch: Path, *, count: int, rounds: int) -> dict[str, Any]:
    """Images a second of the model alone, one after another and in threads, and of the verb, in each round."""
    images = [read_image(frame) for frame in frames]
    alone = load_for(run, options, 1)[0]
    shared, workers = load_for(run, options, threads())
    each = count // rounds
    found: list[dict[str, np.ndarray]] = []

    def segment(file: Input, frame: Frame) -> Prediction:
        return shared.predict(frame.image, case_id=file.stem)

    def predict_case(predictor: SquarePredictor, case: int) -> None:
        predictor.predict(images[case % len(images)], case_id=f"{case:06d}")

    for predictor in (alone, shared):
        predict_case(predictor, 0)  # the first one takes longer
    for number in range(rounds):
        folder, out = folder_of(each, frames, scratch / f"round-{number}"), scratch / f"masks-{number}"
        times = [clocks()]
        for case in range(each):
            predict_case(alone, case)
        times.append(clocks())
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda case: predict_case(shared, case), range(each)))
        times.append(clocks())
        with claimed(out, KIND):
            outcome = predict_into(
                out,
                find_inputs(folder, out),
                {"engine": "benchmark"},
                segment,
                frozenset(),
                workers=workers,
                progress=False,
            )
        times.append(clocks())
        assert outcome.written == each, outcome.problems
        found.append(dict(zip(("bare", "bare in threads", "verb"), np.diff(times, axis=0), strict=True)))
    total = {name: np.sum([one[name] for one in found], axis=0) for name in found[0]}
    return {
        "images": each * rounds,
        "workers": workers,
        "images_per_second": {name: each * rounds / value[0] for name, value in total.items()},
        "cpu_ms_an_image": {name: 1000 * value[1] / (each * rounds) for name, value in total.items()},
        "rounds": [{name: each / value[0] for name, value in one.items()} for one in found],
        "verb_over_bare": total["bare"][0] / total["verb"][0],
        "verb_over_bare_in_threads": total["bare in threads"][0] / total["verb"][0],
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
        chosen = Options(engine=options.engine, tta=options.tta)
        result: dict[str, Any] = {
            "environment": environment(),
            "engine": load_for(run, chosen, 1)[0].engine.name,
            "tta": options.tta,
            "load_average_before": os.getloadavg()[0],
            "speed": speed(run, chosen, frames, scratch, count=options.count, rounds=options.rounds),
            "memory": memory(options.memory, frames, scratch),
        }
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
