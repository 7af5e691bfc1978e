"""Speed of exported models beside torch, and what engines and 8 bits change, in one run on a machine left alone.

    python benchmarks/inference_speed.py --run runs/mine --data my-polyps --out results/inference/speed.json

Parts: `network` times one view of segmenter and control at 192 and 256 pixels (random weights: time does not depend on
them) on every engine, each a process of its own, in three rounds; `--peer SIZE=FILE` adds another network's graph,
which takes `image` as ours do. `cold` times the whole process of predicting one image. `parity` compares engines on 100
frames of the dataset, `dice` float32 with int8 on validation and test cases. These three need --run and --data.
Targets: onnx at most 0.65 of torch's time, int8 at most 0.40; cold start at most 1.0 s and a fifth of torch's;
probabilities within 1e-4 and Dice of masks at least .9995; int8 costs at most .003 of Dice.
"""

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from syndiff.config.loading import load_settings
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.evaluation.metrics import overlap
from syndiff.files import write_json
from syndiff.inference.engines import export_engine, threads
from syndiff.inference.export import export
from syndiff.inference.exported import GRAPH, read_card
from syndiff.inference.load import load
from syndiff.inference.quantisation import quantise_graph
from syndiff.models.noise import case_noise
from syndiff.models.prediction import TorchEngine, load_segmenter, model_description
from syndiff.models.predictor import Engine
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import write_model
from syndiff.models.tensors import trainable_state
from syndiff.training.run_folder import environment

SIZES = (192, 256)
KINDS = ("torch", "onnx", "onnx int8", "openvino", "openvino int8")
ROUNDS = 3
PARTS = ("network", "cold", "parity", "dice")


def measure(kind: str, folder: Path, repeats: int) -> float:
    """Median milliseconds of one view on one engine; a process of its own, since waiting threads of two libraries
    disturb each other."""
    image, latent = np.load(folder / "image.npy"), np.load(folder / "latent.npy")
    if kind == "torch":
        model, described = load_segmenter(folder)
        engine: Engine = TorchEngine(model, described["model"]["image_size"], device=torch.device("cpu"))
        call = lambda: engine.segment(image, latent, None, engine.clock())  # noqa: E731
    elif (folder / "peer").exists():
        call = _peer_call(folder / kind / GRAPH, image)
    else:
        name, _, precision = kind.partition(" ")
        card = read_card(folder / "float32")
        engine = export_engine("openvino" if name == "openvino" else "onnx", folder / (precision or "float32"), card)
        call = lambda: engine.segment(image, latent, None, engine.clock())  # noqa: E731
    seconds = []
    for turn in range(repeats + 5):
        begin = time.perf_counter()
        call()
        if turn >= 5:
            seconds.append(time.perf_counter() - begin)
    return 1000 * statistics.median(seconds)


def network(peers: dict[int, Path], repeats: int) -> dict[str, Any]:
    """One view of segmenter, control and peer on every engine, in three rounds: median milliseconds, and the ratios."""
    found: dict[str, Any] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as scratch:
            models = {
                "segmenter": _own(Path(scratch) / "a", "diffusion", size),
                "control": _own(Path(scratch) / "b", "control", size),
            }
            if size in peers:
                models["peer"] = _peer(Path(scratch) / "peer", peers[size], size)
            calls = [(name, kind) for name in models for kind in (KINDS if name != "peer" else ("onnx", "onnx int8"))]
            times: dict[str, list[float]] = {f"{name}, {kind}": [] for name, kind in calls}
            for _ in range(ROUNDS):
                for name, kind in calls:
                    words = ["--measure", kind, str(models[name]), "--repeats", str(repeats), "--out", "-"]
                    done = subprocess.run(
                        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
                    )
                    times[f"{name}, {kind}"].append(float(done.stdout))
        medians = {name: statistics.median(values) for name, values in times.items()}
        ratios = {
            name: value / medians[f"{name.split(', ')[0]}, torch"]
            for name, value in medians.items()
            if f"{name.split(', ')[0]}, torch" in medians
        }
        found[str(size)] = {"milliseconds": medians, "rounds": times, "ratio_to_torch": ratios}
    return found


def _own(folder: Path, kind: str, size: int) -> Path:
    """A checkpoint of random weights with its exports in float32 and int8, and what they are given."""
    settings = replace(load_settings("compact").model, image_size=size, pretrained=False)
    if kind == "control":
        settings = SegmenterSettings(kind="control", image_size=size, pretrained=False)
    model = initialise(settings, 0)
    write_model(folder, trainable_state(model), model_description(settings, model, step=0, val_dice=None))
    card = read_card(export(folder, folder / "float32").folder)
    inputs: dict[str, NDArray] = {"image": _image(size)}
    latent = case_noise(card.noise_shape, seed=0, case_id="a")
    inputs |= {} if card.timestep is None else {"latent": latent, "timestep": np.array([card.timestep])}
    (folder / "int8").mkdir()
    quantise_graph(folder / "float32" / GRAPH, folder / "int8" / GRAPH, iter([inputs] * 4))
    np.save(folder / "image.npy", inputs["image"])
    np.save(folder / "latent.npy", latent)
    return folder


def _peer(folder: Path, graph: Path, size: int) -> Path:
    for kind in ("peer", "onnx", "onnx int8"):
        (folder / kind).mkdir(parents=True)
    shutil.copyfile(graph, folder / "onnx" / GRAPH)
    quantise_graph(graph, folder / "onnx int8" / GRAPH, iter([{"image": _image(size)}] * 4))
    np.save(folder / "image.npy", _image(size))
    np.save(folder / "latent.npy", np.empty(0))
    return folder


def _peer_call(graph: Path, image: NDArray) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image})


def _image(size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)


def cold(run: Path, image: Path, repeats: int) -> dict[str, Any]:
    """Seconds of the whole process that predicts one image, in turns: an exported model, and the run on torch."""
    with tempfile.TemporaryDirectory() as scratch:
        exported = export(run, Path(scratch) / "exported").folder
        models = {"exported": [exported], "torch": [run, "--engine", "torch"]}
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for turn in range(repeats + 1):
            for name, words in models.items():
                out = Path(scratch) / f"{name}-{turn}"
                call = [sys.executable, "-m", "syndiff", "predict", "--images", image, "--out", out, "--run", *words]
                begin = time.perf_counter()
                subprocess.run([*map(str, call)], check=True, capture_output=True)
                if turn:
                    seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"seconds": medians, "all": seconds, "ratio": medians["exported"] / medians["torch"]}


def parity(run: Path, dataset: Dataset, cases: list[str]) -> dict[str, Any]:
    """The greatest difference of a probability from torch, and the least Dice of masks, on these cases; one view."""
    with tempfile.TemporaryDirectory() as scratch:
        exported = export(run, Path(scratch) / "exported").folder
        reference = load(run, engine="torch", tta=1)
        found = {}
        for engine in ("onnx", "openvino"):
            other = load(exported, engine=engine, tta=1)
            apart, dice = [], []
            for case_id in cases:
                image, _ = dataset.load(dataset[case_id])
                one, two = (each.predict(image, case_id=case_id) for each in (reference, other))
                apart.append(float(np.abs(one.probability - two.probability).max()))
                dice.append(_dice(one.mask, two.mask))
            found[engine] = {"cases": len(cases), "max_difference": max(apart), "min_dice": min(dice)}
    return found


def dice(run: Path, data: Path, dataset: Dataset, split: Split) -> dict[str, Any]:
    """Mean Dice in float32 and in int8, of one view and of all."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {
            "float32": export(run, Path(scratch) / "float32").folder,
            "int8": export(run, Path(scratch) / "int8", int8=True, data=data, progress=False).folder,
        }
        found: dict[str, Any] = {}
        for tta in (1, 8):
            predictors = {name: load(folder, tta=tta) for name, folder in folders.items()}
            for side, cases in (("val", split.val), ("test", split.test)):
                scores: dict[str, list[float]] = {name: [] for name in predictors}
                for case_id in cases:
                    image, mask = dataset.load(dataset[case_id])
                    for name, predictor in predictors.items():
                        scores[name].append(_dice(predictor.predict(image, case_id=case_id).mask, mask))
                means = {name: float(np.mean(values)) for name, values in scores.items()}
                found[f"{side}, {tta} views"] = {"cases": len(cases), **means, "cost": means["float32"] - means["int8"]}
    return found


def _dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    both = overlap(int((one & two).sum()), int(one.sum()), int(two.sum()))
    return 1.0 if both is None else both[0]


def main() -> None:
    """Measure the chosen parts and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peer", action="append", default=[], help="SIZE=FILE")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--measure", nargs=2, metavar=("ENGINE", "FOLDER"), help="one time; for the parts themselves")
    chosen = parser.parse_args()
    if chosen.measure:
        print(measure(chosen.measure[0], Path(chosen.measure[1]), chosen.repeats))
        return
    peers = {int(each.split("=")[0]): Path(each.split("=")[1]) for each in chosen.peer}
    found: dict[str, Any] = {
        "command": shlex.join(sys.argv),
        "load_at_start": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "environment": environment(),
    }
    if "network" in chosen.only:
        found["network"] = network(peers, chosen.repeats)
    if {"cold", "parity", "dice"} & set(chosen.only):
        dataset, split = Dataset.open(chosen.data), Split.read(chosen.run / "split.json")
        held_out = [*split.val, *split.test][:100]
        if "cold" in chosen.only:
            found["cold"] = cold(chosen.run, dataset[split.val[0]].image, repeats=7)
        if "parity" in chosen.only:
            found["parity"] = parity(chosen.run, dataset, held_out)
        if "dice" in chosen.only:
            found["dice"] = dice(chosen.run, chosen.data, dataset, split)
    write_json(chosen.out, found)


if __name__ == "__main__":
    main()
