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
    """Predict `image` (HxWx3 uint8 or uint16) again and again; milliseconds of each stage and of the whole.

    The first `warmup` predictions are thrown away (allocation, kernel choice, caches); of the `repeats`
    that follow come the median and the 10th and 90th percentile. The whole is measured from outside, so it
    holds more than the sum of the stages. Stages are the predictor's own (see `StageClock`).

    device, dtype: where and in what precision the predictor computes; None reads them off the first torch
        module the predictor holds, and records null where there is none.
    out: also write the result there as JSON, the `timing.json` of a run folder.

    Raises SyndiffError when repeats < 1 or warmup < 0.
    """
    if repeats < 1 or warmup < 0:
        raise SyndiffError(f"repeats is {repeats} and warmup {warmup}; at least 1 and 0 are needed.")
    found_device, found_dtype = _device_and_dtype(predictor)
    device, dtype = device or found_device, dtype or found_dtype

    for _ in range(warmup):
        predictor.predict(image, case_id="timing")
    totals: list[float] = []
    stages: dict[str, list[float]] = {}
    for _ in range(repeats):
        _wait_for(device)
        start = time.perf_counter()
        prediction = predictor.predict(image, case_id="timing")
        _wait_for(device)
        totals.append(time.perf_counter() - start)
        for stage, seconds in prediction.seconds.items():
            stages.setdefault(stage, []).append(seconds)

    timing = {
        "predictor": predictor.name,
        "image": {"height": image.shape[0], "width": image.shape[1]},
        "warmup": warmup,
        "repeats": repeats,
        "milliseconds": {
            "total": _spread(totals),
            "stages": {stage: _spread(seconds) for stage, seconds in stages.items()},
        },
        "threads": torch.get_num_threads(),
        "device": None if device is None else str(device),
        "dtype": None if dtype is None else str(dtype).removeprefix("torch."),
        "machine": _machine(device),
    }
    if out is not None:
        write_json(out, timing)
    return timing


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
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
