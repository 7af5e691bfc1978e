"""`load`: a trained or an exported model, ready to predict, on the engine that suits the machine."""

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from syndiff.documents import read_object
from syndiff.errors import SyndiffError, shown
from syndiff.files import sha256
from syndiff.inference.engines import export_engine, slow_int8, threads
from syndiff.inference.exported import DESCRIPTION as EXPORT_DESCRIPTION
from syndiff.inference.exported import GRAPH, ExportCard, is_export, read_card
from syndiff.inference.options import EngineName, Options
from syndiff.models.calibration import KEY as CALIBRATION
from syndiff.models.calibration import inference_settings, wide_thresholds
from syndiff.models.predictor import SquarePredictor
from syndiff.models.refinement import check_refine
from syndiff.models.settings import VIEWS, Refine
from syndiff.models.stored import DESCRIPTION, WEIGHTS, read_description
from syndiff.training.checkpoints import best_checkpoint

log = logging.getLogger("syndiff")

EXPORT = "export"
"""Folder of a run that holds its float32 export."""


def load(
    run: Path | str,
    *,
    engine: EngineName = "auto",
    seed: int = 0,
    timestep: int | None = None,
    steps: int | None = None,
    tta: int | None = None,
    refine: Refine = "none",
) -> SquarePredictor:
    """A trained segmenter, ready to predict single images.

    `run` is a run folder (its best checkpoint is used), a checkpoint folder, or the folder of an export.
    `engine` computes it: "torch"; "onnx" (ONNX Runtime) or "openvino", which need an export: for a run it is made and
    kept in the run's folder `export`. "auto" is torch where there is a GPU, else ONNX Runtime where an export of these
    weights is at hand, else torch. `timestep`, `steps` and `tta` replace the model's own; the first two need torch.
    `seed` is that of the noise.
    `refine` gives lesions a second look at zoomed crops of the image: "lesions" those that the first look finds or
    suspects; "tiles" also searches four overlapping parts of an image in which nothing is found.

    Raises SyndiffError for a folder without a model, damaged weights, a damaged export, and for a timestep, a number of
    steps or of test-time views, or a second look that there is not.

    >>> segmenter = syndiff.load("runs/mine")
    >>> mask = segmenter.predict(image).mask  # image: HxWx3 uint8 or uint16; mask: HxW bool
    >>> mask.shape == image.shape[:2]
    True
    """
    if not isinstance(run, str | Path) or not str(run):
        raise SyndiffError(f"The model is {shown(run)}; give the folder of a run, a checkpoint or an export.")
    options = Options(engine=engine, seed=seed, timestep=timestep, steps=steps, tta=tta, refine=refine)
    return load_for(Path(run), options, workers=1)[0]


def load_for(run: Path, options: Options, workers: int) -> tuple[SquarePredictor, int]:
    """As `load`, for so many threads that predict at once; the number of those that may, 1 for most engines.

    ONNX Runtime is faster with an image in each thread than with all threads on one image; the answers are the same.
    """
    timestep, steps, tta = options.timestep, options.steps, options.tta
    _check(run, options)
    chosen = resolve_engine(run, options.engine, timestep=timestep, steps=steps)
    if chosen == "torch":
        from syndiff.models.prediction import SegmenterPredictor

        checkpoint = checkpoint_of(run)
        predictor: SquarePredictor = SegmenterPredictor.load(
            checkpoint,
            name=run.name,
            seed=options.seed,
            timestep=timestep,
            steps=steps,
            tta=tta,
            refine=options.refine,
        )
        return predictor, 1
    folder = run if is_export(run) else export_at_hand(run) or _make_export(run)
    card = read_card(folder)
    for name, value in (("timestep", timestep), ("steps", steps)):
        if value is not None and value != getattr(card, name):
            raise SyndiffError(
                f"{folder} was exported with {name} {getattr(card, name)}, not {value}; export it again with --{name} "
                f"{value} and another --out, or use the run itself with --engine torch."
            )
    if card.precision == "int8" and (sentence := slow_int8()):
        log.warning(sentence)
    workers = workers if chosen == "onnx" else 1
    tta = tta or (card.tta if is_export(run) else _own_settings(run)["tta"])
    assert tta is not None
    predictor = SquarePredictor(
        export_engine(chosen, folder, card, threads() if workers == 1 else 1),
        card.image_size,
        name=card.name,
        seed=options.seed,
        tta=tta,
        wide_thresholds=_wide_thresholds(run, folder, card, tta, refined=options.refine != "none"),
        refine=options.refine,
    )
    return predictor, workers


def _check(run: Path, options: Options) -> None:
    """Refuse what is no model's folder, and choices that do not exist."""
    if run.is_file():
        raise SyndiffError(f"{run} is a file; give the folder of a run, a checkpoint or an export.")
    if options.engine not in get_args(EngineName):
        raise SyndiffError(f"engine is {shown(options.engine)}; expected {', '.join(get_args(EngineName))}.")
    for name in ("seed", "timestep", "steps", "tta"):
        value = getattr(options, name)
        if value is not None and type(value) is not int:
            raise SyndiffError(f"{name} is {shown(value)}; expected a whole number.")
    check_refine(options.refine)
    if options.tta is not None and options.tta not in VIEWS:
        raise SyndiffError(f"tta is {options.tta}; expected 1, 2, 4 or 8 views.")
    if (run / GRAPH).is_file() and not is_export(run):
        raise SyndiffError(
            f"{run} holds {GRAPH} without {EXPORT_DESCRIPTION}: the export was not finished, or a file was lost. Make "
            "it again: syndiff export."
        )


def resolve_engine(
    run: Path, engine: EngineName, *, timestep: int | None = None, steps: int | None = None
) -> Literal["torch", "onnx", "openvino"]:
    """The engine that `load` takes. Raises SyndiffError for torch with an export, which has no weights for it."""
    if is_export(run):
        if engine == "torch":
            raise SyndiffError(
                f"{run} is an export, which torch does not compute; give the run itself, or --engine onnx."
            )
        return "onnx" if engine == "auto" else engine
    if engine != "auto":
        return engine
    if timestep is not None or steps is not None or _has_gpu() or find_spec("onnxruntime") is None:
        return "torch"
    return "onnx" if export_at_hand(run) else "torch"


def checkpoint_of(run: Path) -> Path:
    """The checkpoint folder that stands for `run`, which may be one itself. Raises SyndiffError where there is none."""
    return run if (run / DESCRIPTION).is_file() else best_checkpoint(run)


def export_at_hand(run: Path) -> Path | None:
    """The float32 export in the run's folder, where it answers as the run does now; what keeps it back is told."""
    folder = run / EXPORT
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    try:
        card = read_card(folder)
    except SyndiffError as error:
        log.warning(f"The export of {run} is not used: {error}")
        return None
    own = _own_settings(run)
    expected = {
        "precision": "float32",
        "weights": _weights(checkpoint_of(run)),
        "timestep": own["timestep"],
        "steps": own["steps"] or 1,
    }
    if other := [name for name, value in expected.items() if value != getattr(card, name)]:
        log.warning(
            f"{folder} is not used, since its {' and '.join(other)} differ from the run's; renew it: syndiff export "
            f"--run {run}"
        )
        return None
    return folder


def _own_settings(run: Path) -> dict[str, int | None]:
    """Timestep, steps and tta of a run's best checkpoint; None for the first two of a network without them."""
    return inference_settings(read_description(checkpoint_of(run), {"model": dict})["model"])


def _wide_thresholds(run: Path, folder: Path, card: ExportCard, tta: int, *, refined: bool) -> tuple[float | None, ...]:
    """Those of the run, which may have been calibrated after it was exported, else those of the export."""
    if is_export(run):
        origin = folder / EXPORT_DESCRIPTION
        described = {} if card.calibration is None else {CALIBRATION: card.calibration}
    else:
        origin = checkpoint_of(run) / DESCRIPTION
        described = read_object(origin, {})
    steps = None if card.timestep is None else card.steps
    inference = {"timestep": card.timestep, "steps": steps, "tta": tta}
    return wide_thresholds(
        described, origin, card.told_apart, weights=card.weights, inference=inference, refined=refined
    )


def _weights(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's weights, as model.json keeps it, else computed."""
    stored = read_object(checkpoint / DESCRIPTION, {}).get("sha256")
    return stored if isinstance(stored, str) else sha256(checkpoint / WEIGHTS)


def _make_export(run: Path) -> Path:
    from syndiff.inference.export import export

    log.info(f"making an export of {run} in {run / EXPORT}, once; this takes some 20 seconds")
    return export(run, run / EXPORT).folder


def _has_gpu() -> bool:
    """Whether torch would compute on a GPU; torch is asked only where the system has a driver for one."""
    nodes = ("nvidia0", "nvidiactl", "dxg", "kfd")
    driver = any(Path("/dev", node).exists() for node in nodes) or (
        os.name == "nt" and Path(os.environ.get("SYSTEMROOT", "C:\\Windows"), "System32", "nvcuda.dll").exists()
    )
    if not driver or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    import torch

    return torch.cuda.is_available()
