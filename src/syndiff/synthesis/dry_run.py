"""What a synthesis would paint, and how long it would take: shown without writing anything."""

import time
from collections.abc import Iterable
from itertools import islice

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.synthesis.engine import check_prompts
from syndiff.synthesis.gates.panel import Gates
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.manifest import Sample
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.synthesis.shards import WHOLE, Shard
from syndiff.synthesis.studio import Studio

_SHOWN = 5


def dry_run(
    dataset: Dataset,
    case_ids: Iterable[str],
    inpainter: Inpainter,
    settings: SynthesisSettings,
    *,
    count: int,
    seed: int = 0,
    grammar: Grammar | None = None,
    gates: Gates | None = None,
    shard: Shard = WHOLE,
) -> str:
    """Describe the first attempts of a synthesis, with what the gates say of one batch, and estimate its time.

    The arguments and errors are those of `synthesize_cases`. The first batch is made twice and thrown away: loading
    a model and warming up belong to no sample.
    """
    if not count >= 1:
        raise SyndiffError(f"count is {count}; expected 1 or more.")
    grammar = grammar or Grammar.for_dataset(dataset, settings.prompts)
    studio = Studio(
        dataset, case_ids, inpainter, settings, seed=seed, rules=PlacementRules(), grammar=grammar, gates=gates
    )
    check_prompts(grammar, inpainter)
    size = inpainter.capabilities.batch_size
    asked = "" if inpainter.capabilities.paints_from_text else f", which {inpainter.name} does not read"
    lines = []
    for position in range(_SHOWN):
        index = shard.attempt(position, size)
        plan = studio.plan(index)
        if plan is None:
            lines.append(f"attempt {index}: no place found for a lesion")
            continue
        placement = plan.placement
        lines.append(
            f"attempt {index}: frame {placement.background.id}, lesion of {placement.lesion.id} over "
            f"{placement.lesion_mask.mean():.1%} of the frame at row {placement.row}, column {placement.column}\n"
            f"  prompt{asked}: {plan.prompt.text}"
            + (f"\n  against: {plan.prompt.negative}" if plan.prompt.negative else "")
        )
    for _ in range(2):
        begin = time.perf_counter()
        painted = list(islice(studio.attempts(0, size * shard.count, shard), size))
        seconds = (time.perf_counter() - begin) / size
    lines += [_judged(sample) for sample, _ in painted if sample.source_case]
    share = -(-count // shard.count)
    lines.append(
        f"{seconds:.2f} s a sample with {inpainter.name} in batches of {size}: {_duration(seconds * share)} for "
        f"{share} samples, and more when some are rejected\nnothing was written"
    )
    return "\n".join(lines)


def _judged(sample: Sample) -> str:
    """What the gates say of a sample."""
    verdict = f"refused ({sample.reason})" if sample.reason else "accepted"
    scores = ", ".join(f"{name} {'n/a' if score is None else f'{score:.3g}'}" for name, score in sample.gates.items())
    return f"{sample.id}: {verdict}; {scores}" + (f"\n  {sample.detail}" if sample.detail else "")


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
