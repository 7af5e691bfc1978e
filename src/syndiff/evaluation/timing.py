"""How long one image takes: warmed up, synchronised, with everything a time depends on written beside it."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.models.predictor import Predictor


def time_predictor(
    predictor: Predictor,
    image: NDArray,
    *,
    warmup: int = 3,
    repeats: int = 20,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """`time_predictors` of a single one; `out` is where its timing.json goes."""
    return time_predictors(
        [predictor],
        image,
        warmup=warmup,
        repeats=repeats,
        device=device,
        dtype=dtype,
        outs=None if out is None else [out],
    )[0]


def time_predictors(
    predictors: Sequence[Predictor],
    image: NDArray,
    *,
    warmup: int = 3,
    repeats: int = 20,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    outs: Sequence[Path] | None = None,
) -> list[dict[str, Any]]:
    """Predict `image` (HxWx3 uint8 or uint16) again and again; milliseconds of each stage and of the whole.

    Predictors take turns, so that a busy moment of the machine touches all of them and their ratios hold. The
    first `warmup` predictions of each are thrown away (allocation, kernel choice, caches); of the `repeats`
    that follow come the median and the 10th and 90th percentile. The whole is measured from outside, so it
    holds more than the sum of the stages. Stages are the predictor's own (see `StageClock`).

    device, dtype: where and in what precision a predictor computes; None reads them off the first torch
        module it holds, and records null where there is none.
    outs: also write each result there as JSON, the `timing.json` of a run folder.

    Raises SyndiffError when repeats < 1 or warmup < 0.
    """
    if repeats < 1 or warmup < 0:
        raise SyndiffError(f"repeats is {repeats} and warmup {warmup}; at least 1 and 0 are needed.")
    places = [_device_and_dtype(predictor) for predictor in predictors]
    places = [(device or found_device, dtype or found_dtype) for found_device, found_dtype in places]
    totals: list[list[float]] = [[] for _ in predictors]
    stages: list[dict[str, list[float]]] = [{} for _ in predictors]
    for turn in range(warmup + repeats):
        for position, predictor in enumerate(predictors):
            where = places[position][0]
            _wait_for(where)
            start = time.perf_counter()
            prediction = predictor.predict(image, case_id="timing")
            _wait_for(where)
            taken = time.perf_counter() - start
            if turn < warmup:
                continue
            totals[position].append(taken)
            for stage, seconds in prediction.seconds.items():
                stages[position].setdefault(stage, []).append(seconds)

    timings = [
        {
            "predictor": predictor.name,
            "image": {"height": image.shape[0], "width": image.shape[1]},
            "warmup": warmup,
            "repeats": repeats,
            "milliseconds": {
                "total": _spread(totals[position]),
                "stages": {stage: _spread(seconds) for stage, seconds in stages[position].items()},
            },
            "threads": torch.get_num_threads(),
            "device": None if place[0] is None else str(place[0]),
            "dtype": None if place[1] is None else str(place[1]).removeprefix("torch."),
            "machine": _machine(place[0]),
        }
        for position, (predictor, place) in enumerate(zip(predictors, places, strict=True))
    ]
    for path, timing in zip(outs or (), timings, strict=outs is not None):
        write_json(path, timing)
    return timings


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 10th and 90th percentile, in milliseconds."""
    p10, median, p90 = np.percentile(seconds, [10, 50, 90]) * 1000
    return {"median": float(median), "p10": float(p10), "p90": float(p90)}


def _device_and_dtype(predictor: Predictor) -> tuple[torch.device | None, torch.dtype | None]:
    """Those of the first floating-point parameter in the predictor or in what it holds."""
    for module in (predictor, *getattr(predictor, "__dict__", {}).values()):
        if isinstance(module, torch.nn.Module):
            for parameter in module.parameters():
                if parameter.is_floating_point():
                    return parameter.device, parameter.dtype
    return None, None


def _wait_for(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def _machine(device: torch.device | None) -> dict[str, Any]:
    """The machine in the words a reader needs to judge a time."""
    cuda = device is not None and device.type == "cuda"
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
    }


def _processor() -> str:
    """The CPU's model name; Linux tells it in /proc/cpuinfo, elsewhere Python knows the family at best."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
