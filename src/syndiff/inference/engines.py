"""Engines that compute an exported model without torch: ONNX Runtime and OpenVINO."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import SyndiffError
from syndiff.inference.exported import GRAPH, ExportCard
from syndiff.models.predictor import Answer, StageClock

ExportEngineName = Literal["onnx", "openvino"]
_Shapes = dict[str, tuple[int, ...]]
_OUTPUTS = ("probability", "clean")
_Run = Callable[[dict[str, NDArray]], tuple[NDArray, NDArray]]


class ExportEngine:
    """`Engine` of an exported model; `run` takes the graph's inputs and gives probabilities and clean latents."""

    def __init__(self, name: ExportEngineName, card: ExportCard, run: _Run) -> None:
        self.name, self.card, self._run = name, card, run
        self.noise_shape, self.targets = card.noise_shape, card.told_apart

    def clock(self) -> StageClock:
        """A clock of the CPU."""
        return StageClock()

    def segment(
        self, image_bhwc: NDArray[np.uint8], latent_bchw: NDArray[np.float32], timestep: int | None, clock: StageClock
    ) -> Answer:
        """Answers, in one stage. Raises SyndiffError for a `timestep` where the graph takes none."""
        inputs: dict[str, NDArray] = {"image": image_bhwc}
        if self.card.timestep is not None:
            inputs["latent"] = latent_bchw
        if self.card.starts_anywhere:
            inputs["timestep"] = np.full(len(image_bhwc), self.card.timestep if timestep is None else timestep)
        elif timestep is not None:
            raise SyndiffError(f"{self.card.name}: this export starts from its own noise only, not from a timestep.")
        with clock.stage("network"):
            probability, clean = self._run(inputs)
        return Answer(probability if self.targets.several else probability[:, None], clean)


def export_engine(name: ExportEngineName, folder: Path, card: ExportCard, cores: int | None = None) -> ExportEngine:
    """The engine for an exported model, which works with so many threads on an image; by default all.

    Raises SyndiffError for a graph that the engine cannot load, or that has other inputs than `card` says;
    ModuleNotFoundError where the library is not installed.
    """
    openers: dict[str, Callable[[Path, int], tuple[_Shapes, _Run]]] = {"onnx": _onnx, "openvino": _openvino}
    try:
        inputs, run = openers[name](folder / GRAPH, cores or threads())
    except ModuleNotFoundError:
        raise
    except Exception as error:  # each library has its own kinds
        raise SyndiffError(
            f"{folder / GRAPH} cannot be loaded by {name} ({str(error).splitlines()[0]}); make it again with "
            "syndiff export."
        ) from None
    expected: _Shapes = {"image": (card.image_size, card.image_size, 3)}
    if card.timestep is not None:
        expected["latent"] = card.noise_shape
    if card.starts_anywhere:
        expected["timestep"] = ()
    if inputs != expected:
        raise SyndiffError(
            f"{folder / GRAPH} takes {inputs}, but its export.json describes {expected}; make the export again: "
            "syndiff export."
        )
    return ExportEngine(name, card, run)


def threads() -> int:
    """Threads to compute with: OMP_NUM_THREADS, as torch reads it, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slow_int8() -> str | None:
    """A sentence where this CPU has no instructions for 8-bit products; None where it has, or cannot be asked."""
    flags = _cpu_flags()
    if flags is None or flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}:
        return None
    return "This CPU has no VNNI instructions: an int8 model is slower here than a float32 one."


def _cpu_flags() -> set[str] | None:
    """What the CPU can do, in Linux's words; None on other systems."""
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return None


def _onnx(graph: Path, cores: int) -> tuple[_Shapes, _Run]:
    """Sizes of the inputs without the batch, and how to run the graph."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = cores, 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, NDArray]) -> tuple[NDArray, NDArray]:
        probability, clean = session.run(list(_OUTPUTS), inputs)
        return probability, clean

    return {each.name: tuple(each.shape[1:]) for each in session.get_inputs()}, run


def _openvino(graph: Path, cores: int) -> tuple[_Shapes, _Run]:
    """As `_onnx`, in float32 also where the CPU has shorter formats."""
    import openvino

    core = openvino.Core()
    chosen: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cores}
    compiled = core.compile_model(core.read_model(graph), "CPU", {**chosen, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()

    def run(inputs: dict[str, NDArray]) -> tuple[NDArray, NDArray]:
        request.infer(inputs)
        probability, clean = (request.get_tensor(compiled.output(each)).data.copy() for each in _OUTPUTS)
        return probability, clean

    shapes = {
        each.get_any_name(): tuple(side.get_length() for side in list(each.get_partial_shape())[1:])
        for each in compiled.inputs
    }
    return shapes, run
