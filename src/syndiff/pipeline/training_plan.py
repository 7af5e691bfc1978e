"""What a training would do, take and fetch, in words: counted on shapes, so that nothing is allocated or downloaded."""

from functools import lru_cache

from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import autoencoder_shapes
from syndiff.models.hardware import has_fast_bf16, memory_bytes
from syndiff.models.network import WeightSource
from syndiff.models.settings import SegmenterSettings
from syndiff.training.loop import check_machine, check_precision
from syndiff.training.memory import Memory, Part, count_memory, training_shapes
from syndiff.training.objective import SegmentationObjective
from syndiff.training.run_folder import this_process
from syndiff.training.settings import TrainingSettings

GIB = 2**30
MOST_KEPT = 10_000
"""Numbers that no network here keeps for a pixel of its batch: 500 are usual, 2,800 the most with 4,096 channels."""


def training_plan(
    model: SegmenterSettings, training: TrainingSettings, cases: int, targets: Targets | None = None
) -> str:
    """Steps, parameters by part, memory (an estimate), and the weights that are here or would be fetched.

    Raises SyndiffError for settings that a training would refuse: parts that do not fit each other, initial weights of
    another shape, a precision that the GPU lacks.
    """
    warning = check_precision(training.precision)
    bf16, objective, parts, weights = _shaped(model, training, targets)
    memory = count_memory(model, training, objective, bf16=bf16)
    images = training.steps * training.batch_size
    shares = "the whole batch in one" if training.accumulation == 1 else f"the batch in {training.accumulation} parts"
    lines = [
        f"{training.steps:,} steps of {training.batch_size} images at {_sizes(model, training)}: {images:,} images "
        f"seen, each of the {cases} cases {images / max(1, cases):,.0f} times"
        + (
            f" on average; the last {training.real_share:.0%} of the steps see real ones alone"
            if training.real_share
            else ""
        ),
        "",
        "parameters",
        *(f"  {_part(part)}" for part in parts),
        "",
        f"memory of the training, an ESTIMATE: {memory.total / GIB:.1f} GiB a process, {shares}",
        *_memory(memory, training, bf16),
        "",
        "weights",
        *(f"  {line}" for line in weights),
    ]
    return "\n".join([*lines, *(["", warning] if warning else [])])


def check_training(model: SegmenterSettings, training: TrainingSettings, targets: Targets | None = None) -> None:
    """Raise SyndiffError for what `training_plan` refuses, and for a training that this machine cannot hold.

    Nothing is allocated, fetched or written. A batch that several processes share is not judged by its size.
    """
    check_machine(training)
    there = memory_bytes()
    needed = _needed(model, training, there or 0, targets)
    if there is not None and this_process().num_processes == 1 and needed > there:
        raise SyndiffError(
            f"the training of the kind {model.kind} would take about {needed / GIB:,.0f} GiB of memory, and this "
            f"machine has {there / GIB:,.0f} (an estimate: `syndiff train --dry-run` shows its parts). Lower "
            f"training.batch_size (now {training.batch_size}), model.image_size ({model.image_size}) or the model's "
            f"channels, or raise training.accumulation ({training.accumulation})."
        )


@lru_cache
def _needed(model: SegmenterSettings, training: TrainingSettings, there: int, targets: Targets | None) -> int:
    """Bytes of a training; found once, though every cell of a study and every arm asks.

    Where even `MOST_KEPT` numbers for every pixel of a batch leave the memory `there` unfilled, that many: counting
    them takes seconds.
    """
    bf16, objective, parts, _ = _shaped(model, training, targets)
    pixels = training.batch_size // training.accumulation * model.image_size**2
    ceiling = 4 * MOST_KEPT * pixels + 24 * sum(part.parameters for part in parts)
    return ceiling if ceiling <= there else count_memory(model, training, objective, bf16=bf16).total


def _shaped(
    model: SegmenterSettings, training: TrainingSettings, targets: Targets | None
) -> tuple[bool, SegmentationObjective, list[Part], list[str]]:
    """Whether it computes in bf16, what is trained, its parts, and where their weights come from."""
    bf16 = training.precision == "bf16" or (training.precision == "auto" and has_fast_bf16())
    autoencoder, here = autoencoder_shapes(model.autoencoder, revision=model.autoencoder_revision or None)
    objective, parts = training_shapes(model, training, autoencoder, targets)
    return bf16, objective, parts, _weights(objective.model.weight_sources(model, autoencoder_here=here))


def _sizes(model: SegmenterSettings, training: TrainingSettings) -> str:
    if not training.coarse_share:
        return f"{model.image_size} pixels"
    return f"{model.image_size} pixels (the first {training.coarse_share:.0%} at {model.coarse_size})"


def _part(part: Part) -> str:
    if part.trained in (0, part.parameters):
        state = "trained" if part.trained else "frozen"
    else:
        state = f"{part.trained / 1e6:.2f} M trained, the rest frozen"
    return f"{part.name:16} {part.parameters / 1e6:8.2f} M  {state}"


def _memory(memory: Memory, training: TrainingSettings, bf16: bool) -> list[str]:
    how = "with gradient checkpointing" if training.gradient_checkpointing else "without gradient checkpointing"
    rows = {
        "weights": (memory.weights, "32-bit numbers"),
        "gradients": (memory.gradients, "of what is trained"),
        "AdamW": (memory.moments, "two moments"),
        "moving average": (memory.average, "" if training.ema_encoder else "without the vision encoder"),
        "activations": (memory.kept, f"kept for the backward pass, {how}, {'bf16' if bf16 else '32 bits'}"),
    }
    return [
        *(f"  {name:16} {value / GIB:8.2f} GiB  {note}".rstrip() for name, (value, note) in rows.items()),
        "  counted on the tensors' shapes, not measured; the passing work of kernels comes on top, and about 0.7 GiB",
        "  for CUDA on a GPU",
        f"  each checkpoint takes {memory.checkpoint / GIB:.1f} GiB on disk, three of them while the newest is written",
    ]


def _weights(sources: list[WeightSource]) -> list[str]:
    """Where the weights come from, those to fetch last."""
    fetched = [f"{each.part}: {each.source}: will be DOWNLOADED from the model hub" for each in sources if each.fetched]
    lines = [f"{each.part}: {each.source}" for each in sources if not each.fetched]
    return lines + (fetched or ["all local: nothing will be downloaded"])
