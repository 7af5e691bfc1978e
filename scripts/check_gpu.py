"""Does SynDiff work on this GPU, and how fast? Within ten minutes, to a table that can be sent back.

    make gpu                                  # writes build/gpu.md and build/gpu.json
    .venv/bin/python scripts/check_gpu.py --out build/gpu --quick

Checked: every kind of network answers as it does on the CPU; a training that is stopped and goes on ends with the same
weights as one that is not; the whole pipeline runs on the built-in phantom, inpainter, gates and test-time augmentation
included. Measured: a training step of each preset in fp32 and bf16, with and without the next batch drawn ahead, its
memory beside what was counted; and one prediction, as it is, under bf16, and compiled (`torch.compile`, which SynDiff
does not use yet: the table is to say whether it pays).

All networks have random weights, so nothing is downloaded. A row that fails is told and the others go on; the exit
status is 1 then. On a machine without a GPU everything is computed on the CPU, smaller: a test of the script alone.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

import syndiff
from syndiff.config.loading import load_settings
from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.targets import Targets
from syndiff.files import write_json, write_text
from syndiff.models.hardware import default_device, has_fast_bf16
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.segmenter import initialise
from syndiff.training.batches import Batches
from syndiff.training.checkpoints import find_checkpoint
from syndiff.training.loop import backpropagate, fit, make_optimizer
from syndiff.training.run_folder import environment, this_process
from syndiff.training.segmentation import SegmentationTask

GPU = torch.cuda.is_available()
KINDS = {
    "z0": ("model.objective=z0",),
    "v": ("model.objective=v",),
    "noise+latent": ("model.objective=noise+latent", "model.zero_terminal_snr=false"),
    "z0, five steps": ("model.objective=z0", "model.inference_steps=5"),
    "control": ("model.kind=control",),
}
SMALL = ("model.image_size=64", "model.condition_channels=16", "model.denoiser_channels=16", "model.inference_tta=1")
TINY = ("training.steps=4", "training.coarse_share=0", "training.batch_size=4", "adapt.steps=4", "adapt.crops=16")
RANDOM = ("model.pretrained=false",)
Row = tuple[str, str]


def same_answers() -> Iterator[Row]:
    """The largest difference of a probability between this device and the CPU, in fp32."""
    image = np.random.default_rng(0).integers(0, 255, (96, 80, 3), dtype=np.uint8)
    for name, changes in KINDS.items():
        settings = load_settings("compact", None, [*SMALL, *RANDOM, *changes]).model
        answers = []
        for device in (default_device(), torch.device("cpu")):
            predictor = SegmenterPredictor(
                initialise(settings, 0, Targets()).eval(), settings.image_size, name=name, device=device
            )
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # its ten bits would be all that is seen
                answers.append(predictor.predict(image, case_id="case").probability)
        apart = float(np.abs(answers[0] - answers[1]).max())
        if apart > 1e-3:
            raise AssertionError(f"{name}: a probability is {apart:.2g} away from the CPU's; expected 0.001 at most")
        yield f"same answers, {name}", f"apart by {apart:.1e}"


def resumed(data: Path, folder: Path) -> Iterator[Row]:
    """A training of six steps beside one that is stopped after three."""
    settings = load_settings("compact", None, [*SMALL, *RANDOM, *TINY, "training.steps=6"])
    weights = []
    for name, stops in (("whole", (None,)), ("stopped", (3, None))):
        for stop in stops:
            task = _task(settings, _cases(data, settings))
            fit(folder / name, task, settings.training, seed=0, stop_after=stop, progress=False)
        last = find_checkpoint(folder / name, "last")
        assert last is not None
        weights.append(load_file(last / "model.safetensors"))
    apart = max(float((one - weights[1][name]).abs().max()) for name, one in weights[0].items())
    yield "a training that was stopped and goes on", f"weights apart by {apart:.1e}"


def pipeline(data: Path, folder: Path) -> Iterator[Row]:
    """`syndiff run` with its own inpainter, gates and eight views, as a user gives it."""
    began = time.perf_counter()
    chosen = [*RANDOM, *TINY, "model.image_size=64", "training.steps=8", "gates.mode=report", "compact.steps=4"]
    command = ["run", "--preset", "demo", "--data", str(data), "--out", str(folder), "--set", *chosen]
    done = subprocess.run([sys.executable, "-m", "syndiff", *command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip()[-600:]}")
    yield "syndiff run on the phantom", f"{time.perf_counter() - began:.0f} s"


def training(data: Path, presets: list[str], steps: int) -> Iterator[Row]:
    """Milliseconds of a step, and the most memory that was taken."""
    for preset in presets:
        settings = load_settings(preset, None, [*RANDOM, "training.coarse_share=0", *([] if GPU else SMALL)])
        cases = _cases(data, settings)
        for precision in ("fp32", *(["bf16"] if has_fast_bf16() else [])):
            chosen = replace(settings, training=replace(settings.training, precision=precision))
            for ahead in (False, True):
                taken, peak = _steps(chosen, cases, steps, ahead=ahead)
                images = settings.training.batch_size / taken
                yield (
                    f"training step, {preset}, {precision}, next batch {'ahead' if ahead else 'in turn'}",
                    f"{1000 * taken:.0f} ms, {images:.0f} images a second{peak}",
                )


def prediction(presets: list[str], repeats: int) -> Iterator[Row]:
    """Milliseconds of one image of one view, and of eight."""
    image = np.random.default_rng(0).integers(0, 255, (576, 720, 3), dtype=np.uint8)
    for preset in presets:
        settings = load_settings(preset, None, [*RANDOM, *([] if GPU else SMALL)]).model
        for views in (1, 8):
            predictor = SegmenterPredictor(
                initialise(settings, 0, Targets()).eval(), settings.image_size, name=preset, tta=views
            )
            name = f"prediction, {preset}, {views} view{'s' if views > 1 else ''}"
            yield name, _timed(lambda p=predictor: p.predict(image, case_id="case"), repeats)
            if has_fast_bf16():
                with torch.autocast(default_device().type, torch.bfloat16):
                    yield f"{name}, bf16", _timed(lambda p=predictor: p.predict(image, case_id="case"), repeats)
            if GPU:  # on a CPU it asks for a compiler, and an exported model is the way to be fast
                for part in ("forward", "answer"):
                    setattr(predictor.model, part, torch.compile(getattr(predictor.model, part)))
                yield f"{name}, compiled", _timed(lambda p=predictor: p.predict(image, case_id="case"), repeats)


def _timed(call: Callable[[], Any], repeats: int) -> str:
    for _ in range(3):
        call()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()  # its answer is on the CPU, so it is whole
        taken.append(time.perf_counter() - began)
    return f"{1000 * float(np.median(taken)):.1f} ms"


def _steps(settings: Settings, cases: CaseArrays, steps: int, *, ahead: bool) -> tuple[float, str]:
    """Seconds of a step, the median, and the peak of the memory in words."""
    task, accelerator = _task(settings, cases), this_process()
    objective, optimizer = accelerator.prepare(task.objective, make_optimizer(task, settings.training))
    objective.train()
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    batches, taken = Batches(task, accelerator, ahead=ahead), []
    for step in range(steps + 3):
        began = time.perf_counter()
        _, loss, _ = backpropagate(objective, batches.draw(step), optimizer, settings.training, accelerator)
        optimizer.step()
        if not np.isfinite(loss.item()):
            raise AssertionError(f"the loss of step {step} is {loss.item()}")
        taken.append(time.perf_counter() - began)
    batches.close()
    peak = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if GPU else ""
    return float(np.median(taken[3:])), peak


def _task(settings: Settings, cases: CaseArrays) -> SegmentationTask:
    return SegmentationTask(
        settings.model, settings.training, settings.augmentation, train_cases=cases, val_cases=cases, seed=0
    )


def _cases(data: Path, settings: Settings) -> CaseArrays:
    dataset = Dataset.open(data)
    ids = [case.id for case in dataset.cases]
    return load_cases([(dataset, ids)], settings.model.image_size, detail=settings.augmentation.detail)


def main() -> int:
    """Check, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="its name with .md and .json is written")
    parser.add_argument("--quick", action="store_true", help="few steps and repeats")
    options = parser.parse_args()
    steps, presets = (3 if options.quick else 30), ["compact", "gpu"] if GPU else ["compact"]
    name = torch.cuda.get_device_name() if GPU else "no GPU: everything below was computed on the CPU, smaller"
    rows: list[Row] = [("device", name), ("torch", torch.__version__)]
    rows.append(("bf16", "yes" if has_fast_bf16() else "no"))
    began, failed = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "phantom"
        syndiff.write_phantom(data, groups=8, frames=2, height=96, width=96)
        checks: dict[str, Callable[[], Iterator[Row]]] = {
            "same answers": same_answers,
            "going on": lambda: resumed(data, Path(scratch)),
            "training": lambda: training(data, presets, steps),
            "prediction": lambda: prediction(presets, steps),
            "pipeline": lambda: pipeline(data, Path(scratch) / "run"),
        }
        for check, each in checks.items():
            try:
                for row in each():
                    rows.append(row)
                    print(f"{row[0]}: {row[1]}", file=sys.stderr, flush=True)
            except Exception as error:  # told, and the others go on
                failed += 1
                rows.append((check, f"FAILED: {type(error).__name__}: {error}"))
                print(f"{check}: {rows[-1][1]}", file=sys.stderr, flush=True)
    rows.append(("whole check", f"{time.perf_counter() - began:.0f} s, {failed or 'nothing'} failed"))
    table = "| what | found |\n|---|---|\n" + "".join(
        f"| {what} | {' '.join(found.split()).replace('|', '/')} |\n" for what, found in rows
    )
    write_text(options.out.with_suffix(".md"), table)
    write_json(options.out.with_suffix(".json"), {"environment": environment(), "rows": dict(rows)})
    print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
