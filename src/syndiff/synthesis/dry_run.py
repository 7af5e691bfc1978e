"""What a synthesis would paint, and how long it would take: shown without writing anything."""

import time
from collections.abc import Iterable
from typing import Any

from syndiff.data.dataset import DatasetFolder
from syndiff.errors import SyndiffError
from syndiff.synthesis.engine import Studio
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.placement import PlacementRules
from syndiff.synthesis.shards import WHOLE, Shard

_SHOWN = 5


def dry_run(
    dataset: DatasetFolder,
    case_ids: Iterable[str],
    inpainter: Inpainter,
    *,
    count: int,
    shard: Shard = WHOLE,
    rules: PlacementRules | None = None,
    **settings: Any,
) -> str:
    """Describe the first attempts of a synthesis and estimate its time from one batch, painted and thrown away.

    The arguments and errors are those of `synthesize`. The first batch is painted twice: loading a model and
    warming up belong to no sample.
    """
    if not count >= 1:
        raise SyndiffError(f"count is {count}; expected 1 or more.")
    studio = Studio(dataset, case_ids, inpainter, rules=rules or PlacementRules(), **settings)
    size = inpainter.batch_size
    lines = []
    for position in range(max(_SHOWN, 1)):
        index = shard.attempt(position, size)
        plan = studio.plan(index)
        if plan is None:
            lines.append(f"attempt {index}: no place found for a lesion")
            continue
        placement = plan.placement
        lines.append(
            f"attempt {index}: frame {placement.background.id}, lesion of {placement.lesion.id} over "
            f"{placement.lesion_mask.mean():.1%} of the frame at row {placement.row}, column {placement.column}\n"
            f"  prompt: {plan.prompt.text}\n  against: {plan.prompt.negative}"
        )
    for _ in range(2):
        begin = time.perf_counter()
        for _ in zip(range(size), studio.attempts(0, size * shard.count, shard), strict=False):
            pass
        seconds = (time.perf_counter() - begin) / size
    share = -(-count // shard.count)
    lines.append(
        f"{seconds:.2f} s a sample with {inpainter.name} in batches of {size}: {_duration(seconds * share)} for "
        f"{share} samples, and more when some are rejected\nnothing was written"
    )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
