"""`export`: a trained segmenter as ONNX, all of it in the graph but resizing, views and the threshold."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.guarantee import ENGINE_TOLERANCE
from syndiff.files import claimed, sha256, write_bytes
from syndiff.inference.engines import export_engine, slow_int8
from syndiff.inference.exported import GRAPH, KIND, ExportCard, Schedule
from syndiff.inference.load import EXPORT, checkpoint_of
from syndiff.inference.quantisation import cases_of, in_words, quantise
from syndiff.models.calibration import KEY as CALIBRATION
from syndiff.models.folding import fold_batch_norms
from syndiff.models.network import SegmentationNetwork, probabilities
from syndiff.models.noise import case_noise
from syndiff.models.prediction import TorchEngine, chosen_settings, load_segmenter
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import WEIGHTS, settings_of

TOLERANCE = ENGINE_TOLERANCE
"""Greatest difference of a probability between torch and the exported graph; about 1e-5 as a rule."""
_BATCHES = (1, 3)
EXPORT_INT8 = "export-int8"
"""Folder of a run that holds its int8 export."""


@dataclass(frozen=True)
class Exported:
    """What `export` made.

    folder: holds model.onnx and export.json. megabytes: of the graph. difference: the greatest of a probability from
    torch, over batches of 1 and 3 images of noise; for int8 that of the float32 graph that it was made from.
    cost: of int8: Dice on validation cases before and after; None for float32.

    >>> syndiff.export("runs/mine", "exported").difference < 1e-4
    True
    """

    folder: Path
    card: ExportCard
    megabytes: float
    difference: float

    def __str__(self) -> str:
        lines = [
            f"{self.folder / GRAPH}: {self.megabytes:.1f} MB, {self.card.precision}, {self.card.image_size} pixels",
            f"Greatest difference of a probability from torch: {self.difference:.1e}",
        ]
        if self.card.cost is not None:
            lines += filter(None, [in_words(self.card.cost), slow_int8()])
        return "\n".join(lines)


class _Whole(nn.Module):
    """Squares as a camera gives them to probabilities and clean latents: the graph's one function.

    Probabilities are (b, h, w) of one class and (b, K, h, w) of several.
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, image: Tensor, latent: Tensor | None = None, timestep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        noise = image.new_empty(image.shape[0], 0, 0, 0, dtype=torch.float32) if latent is None else latent
        logits, clean = self.network.answer(image.permute(0, 3, 1, 2).float() / 255, noise, timestep_b=timestep)
        targets = self.network.targets
        return probabilities(logits, targets) if targets.several else logits.sigmoid()[:, 0], clean


def export(
    run: Path | str,
    out: Path | str | None = None,
    *,
    timestep: int | None = None,
    steps: int | None = None,
    tta: int | None = None,
    int8: bool = False,
    data: Path | str | None = None,
    progress: bool = True,
) -> Exported:
    """Write a run's best checkpoint, or a checkpoint folder, as `out`/model.onnx with `out`/export.json beside it.

    `out` is by default the run's folder export, or export-int8. An export that lies there is replaced. `timestep`,
    `steps` and `tta` replace the model's own. The graph is checked against torch at batches of 1 and 3. `int8` needs
    `data`, the run's dataset: its training cases give the ranges of the numbers, its validation cases the cost in Dice.

    Raises SyndiffError for a folder without a model, an `out` that holds other files, `int8` without the run's
    dataset, and a graph that does not answer as torch does; ModuleNotFoundError where onnx is not installed.

    >>> print(syndiff.export("runs/mine", "exported").card.precision)
    float32
    """
    run = Path(run)
    checkpoint = checkpoint_of(run)
    if int8 and data is None:
        raise SyndiffError("int8 needs the run's dataset (--data): its training cases give the ranges of the numbers.")
    if data is not None and not int8:
        raise SyndiffError("--data has an effect with --int8 only; leave it out.")
    import onnx  # noqa: F401  said before the network is loaded
    import onnxruntime  # noqa: F401

    cases = cases_of(run, Path(data), progress=progress) if data is not None else None
    folder = Path(out) if out is not None else run / (EXPORT_INT8 if int8 else EXPORT)
    network, described = load_segmenter(checkpoint, timestep=timestep, steps=steps, tta=tta)
    stored = settings_of(checkpoint, described, SegmenterSettings, what="a segmenter")
    settings = chosen_settings(stored, timestep=timestep, steps=steps, tta=tta)
    card = _card(run, checkpoint, network, described, settings)
    with claimed(folder, KIND), tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / GRAPH
        _write_graph(network, card, graph)
        difference = _difference(network, card, Path(scratch))
        if cases is not None:
            card = quantise(graph, card, *cases, progress=progress)
        write_bytes(folder / GRAPH, graph.read_bytes())
        card.write(folder)
    return Exported(folder, card, (folder / GRAPH).stat().st_size / 1e6, difference)


def _card(
    run: Path, checkpoint: Path, network: SegmentationNetwork, described: dict[str, Any], settings: SegmenterSettings
) -> ExportCard:
    """All that export.json says of a float32 export."""
    diffusion = settings.kind == "diffusion"
    schedule = Schedule(
        timesteps=settings.timesteps,
        beta_start=settings.beta_start,
        beta_end=settings.beta_end,
        zero_terminal_snr=settings.zero_terminal_snr,
    )
    provenance = {
        "weights_sha256": sha256(checkpoint / WEIGHTS),
        "step": described["step"],
        "val_dice": described.get("val_dice"),
    }
    if (run / "split.json").is_file():
        split = Split.read(run / "split.json")
        provenance["split"] = {name: getattr(split, name) for name in ("dataset", "fingerprint", "method", "seed")}
    targets = network.targets
    return ExportCard(
        name=run.name,
        kind=settings.kind,
        precision="float32",
        image_size=settings.image_size,
        noise_shape=network.noise_shape(settings.image_size, settings.image_size),
        timestep=settings.first_timestep if diffusion else None,
        steps=settings.inference_steps if diffusion else 1,
        schedule=schedule if diffusion else None,
        tta=settings.inference_tta,
        classes=targets.names if targets.several else ("lesion",),
        targets=targets.told if targets.several else None,
        calibration=described.get(CALIBRATION),
        provenance=provenance,
    )


def _write_graph(network: SegmentationNetwork, card: ExportCard, path: Path) -> None:
    """Write the graph: image, and latent and timestep where the network takes them; the batch is free."""
    inputs = _inputs(card, batch=3)
    batch = torch.export.Dim("batch", min=1, max=1024)
    with torch.inference_mode(), _quiet():
        program = torch.onnx.export(
            _Whole(fold_batch_norms(network)).eval(),
            tuple(torch.from_numpy(each) for each in inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            input_names=list(inputs),
            output_names=["probability", "clean"],
        )
        assert program is not None
        program.save(path, external_data=False)


def _inputs(card: ExportCard, batch: int) -> dict[str, NDArray]:
    """A batch of images of noise, and what else the graph takes."""
    shape = (batch, card.image_size, card.image_size, 3)
    inputs: dict[str, NDArray] = {"image": np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)}
    if card.timestep is not None:
        noises = [case_noise(card.noise_shape, seed=0, case_id=str(each)) for each in range(batch)]
        inputs["latent"] = np.concatenate(noises)
    if card.starts_anywhere:
        assert card.timestep is not None
        inputs["timestep"] = np.full(batch, card.timestep)
    return inputs


def _difference(network: SegmentationNetwork, card: ExportCard, folder: Path) -> float:
    """Greatest difference of a probability from torch, at several batches. Raises SyndiffError above TOLERANCE."""
    here, there = TorchEngine(network, card.image_size, device=torch.device("cpu")), export_engine("onnx", folder, card)
    worst = 0.0
    for batch in _BATCHES:
        inputs = _inputs(card, batch)
        latent = inputs.get("latent", np.empty((batch, 0, 0, 0), np.float32))
        mine = here.segment(inputs["image"], latent, None, here.clock())
        try:
            other = there.segment(inputs["image"], latent, None, there.clock())
        except Exception as error:  # onnxruntime's own kinds: the exporter froze the batch
            raise SyndiffError(
                f"The exported graph does not take {batch} images ({str(error).splitlines()[0]}). Nothing was written; "
                "this version of torch or onnxruntime cannot export the model."
            ) from None
        worst = max(worst, float(np.abs(mine.probability_bkhw - other.probability_bkhw).max()))
    if not worst <= TOLERANCE:
        raise SyndiffError(
            f"The exported graph does not answer as torch does: a probability differs by {worst:.1e}, expected at most "
            f"{TOLERANCE:.0e}. Nothing was written; this version of torch or onnxruntime cannot export the model."
        )
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own progress and on libraries that nobody needs here."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.__trace", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
