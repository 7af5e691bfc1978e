"""From settings to an inpainter and its gates."""

from pathlib import Path

from syndiff.config.settings import Settings
from syndiff.data.class_view import ClassView
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.files import expanded, sha256
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.predictor import OneClass
from syndiff.synthesis.gates.panel import Gates, InpaintedArea, Segmenter
from syndiff.synthesis.gates.reviewed import Reviewed
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.training.checkpoints import find_checkpoint


def make_inpainter(settings: Settings) -> Inpainter:
    """The inpainter that the settings name."""
    chosen = settings.synthesis
    if chosen.inpainter == "copy_paste":
        return CopyPaste()
    if chosen.inpainter == "compact":
        from syndiff.synthesis.inpainters.compact import Compact

        return Compact(compact_checkpoint(chosen.model), settings.compact)
    from syndiff.models.pipeline_folder import DEFAULT_MODEL
    from syndiff.synthesis.inpainters.sdxl import Sdxl

    return Sdxl(chosen.model or DEFAULT_MODEL, revision=chosen.revision or None, settings=settings.sdxl)


def compact_checkpoint(model: str) -> Path:
    """The best checkpoint of an `adapt` run, or `model` itself where it is a checkpoint."""
    how = "teach it your images with `syndiff adapt --data DIR --split FILE --out RUN`, then give --model RUN"
    if not model:
        raise SyndiffError(f"The inpainter compact has no weights of its own: {how}.")
    checkpoint = find_checkpoint(expanded(model), "best") or expanded(model)
    if not (checkpoint / "model.json").is_file():
        raise SyndiffError(
            f"{model} holds no inpainter (neither checkpoints/best, which appears with the first validation, nor "
            f"model.json): {how}."
        )
    return checkpoint


def make_gates(
    settings: Settings,
    inpainter: Inpainter,
    dataset: Dataset,
    split: Split,
    out: Path,
    segmenter: Path | None,
    *,
    reviewed: Reviewed | None = None,
    progress: bool = True,
) -> Gates | None:
    """The gates for samples that go into `out`, calibrated on the split's training (and validation) cases.

    `segmenter` is the checkpoint that the gate `agreement` asks, if any. Bounds that lie in `out` already are taken
    again. What was `reviewed` draws the bounds closer. None when the gates are off.
    """
    if settings.gates.mode == "off":
        return None
    can, judge = inpainter.capabilities, None
    if segmenter is not None:
        predictor = SegmenterPredictor.load(segmenter, name=Path(settings.gates.segmenter).name)
        whole = dataset.every if isinstance(dataset, ClassView) else dataset
        whole.told_apart.check_same(predictor.engine.targets, str(whole.root), f"gates.segmenter={segmenter}")
        judge = Segmenter(
            predictor=OneClass(predictor, dataset.index) if isinstance(dataset, ClassView) else predictor,
            fingerprint=sha256(segmenter / "model.safetensors"),
        )
    return Gates.calibrate(
        dataset,
        split.train,
        settings.gates,
        area=InpaintedArea(margin=can.margin, feather=settings.synthesis.feather, copies=can.copies),
        predictor=judge,
        val_ids=split.val,
        kept=out / "gates.json",
        reviewed=reviewed,
        progress=progress,
    )
