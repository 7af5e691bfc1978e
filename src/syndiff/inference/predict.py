"""Masks for any number of pictures, one at a time, so that no more than a few are held in memory."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syndiff.errors import SyndiffError
from syndiff.files import claimed, sha256
from syndiff.inference.formats.base import Frame
from syndiff.inference.inputs import KIND, Input, Inputs, find_inputs, output_names
from syndiff.inference.journal import Journal, recorded_engine
from syndiff.inference.options import EngineName, Options
from syndiff.inference.outputs import unfinished
from syndiff.inference.stream import Outcome, Segment, Work, predict_all
from syndiff.inference.table import Table
from syndiff.models.predictor import Prediction, SquarePredictor
from syndiff.models.stored import read_description

if TYPE_CHECKING:
    from syndiff.models.prediction import SegmenterPredictor


@dataclass
class Predicted:
    """What became of every file, and what was not looked at.

    written, present: numbers of files predicted now, and of those that an earlier call predicted and whose masks are
        still right. frames: how many pictures were predicted now; a video or a stack has many.
    problems: a sentence for each file without a prediction of its own, or of which a part is lost: it is unreadable,
        or another file has the mask's name, such as a mask that somebody corrected.
    remarks: sentences about what could not be written beside masks.
    ignored: names of what was found and is not read, by kind.

    >>> syndiff.predict("runs/mine", "my-polyps/images", "masks").problems
    []
    """

    written: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    frames: int = 0
    remarks: list[str] = field(default_factory=list)
    not_read: str = field(default="", repr=False)

    def summary(self, out: Path) -> str:
        """A line on the masks in `out`, and more on what was not written or not read, if anything."""
        frames = f" of {self.frames} frames" if self.frames > self.written else ""
        present = f"; {self.present} were there already" if self.present else ""
        failed = f"; {len(self.problems)} not written, for the reasons below" if self.problems else ""
        not_read = [f"Not read: {self.not_read}"] if self.not_read else []
        return "\n".join([f"{self.written} masks{frames} written to {out}{present}{failed}", *self.remarks, *not_read])


def load(
    run: Path | str,
    *,
    engine: EngineName = "auto",
    seed: int = 0,
    timestep: int | None = None,
    steps: int | None = None,
    tta: int | None = None,
) -> "SegmenterPredictor":
    """A trained segmenter, ready to predict single images.

    `run` is a run folder (its best checkpoint is used) or a checkpoint folder. `timestep`, `steps` and `tta` replace
    the model's own; `seed` is that of the noise.

    Raises SyndiffError for a folder without a model, damaged weights, and a timestep or a number of steps or of
    test-time views that the model does not have.

    >>> segmenter = syndiff.load("runs/mine")
    >>> mask = segmenter.predict(image).mask  # image: HxWx3 uint8 or uint16; mask: HxW bool
    >>> mask.shape == image.shape[:2]
    True
    """
    from syndiff.models.prediction import SegmenterPredictor

    if engine not in ("auto", "torch"):
        raise SyndiffError(f"--engine is {engine}; expected auto or torch.")
    run = Path(run)
    return SegmenterPredictor.load(_checkpoint(run), name=run.name, seed=seed, timestep=timestep, steps=steps, tta=tta)


def predict(
    run: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    engine: EngineName = "auto",
    timestep: int | None = None,
    steps: int | None = None,
    tta: int | None = None,
    seed: int = 0,
    probability: bool = False,
    overlay: bool = False,
    progress: bool = True,
) -> Predicted:
    """Write a mask for every picture that `images` names, at the picture's own size, and a table of figures.

    `images` is a file, a folder with all below it, a glob, or "@" with a text file of paths (`inputs.find_inputs`).
    Folders are kept below `out`. A picture gives <name>.png (0 background, 255 lesion), a TIFF stack <name>.tif;
    `probability` adds <name>.probability.png (65535 is 1), `overlay` <name>.overlay.jpg with contours. predictions.csv
    has a row for every frame.

    `run`, `engine`, `timestep`, `steps`, `tta` and `seed` are those of `load`. The same call goes on where it stopped:
    a source is predicted again only where an output is missing or the source has changed, and an output that was
    changed since is never replaced. A file that cannot be read does not keep the others from being predicted; it is
    named in `problems`.

    Raises SyndiffError where there are no images, a run without a model, and an `out` that holds other files or masks
    of another run or other settings; OSError where nothing can be written any more, such as on a full disk.

    >>> made = syndiff.predict("runs/mine", "my-polyps/images", "masks")
    >>> made.written + made.present == len(syndiff.Dataset.open("my-polyps").cases)
    True
    """
    options = Options(
        engine=engine,
        timestep=timestep,
        steps=steps,
        tta=tta,
        seed=seed,
        probability=probability,
        overlay=overlay,
    )
    return _predict(Path(run), images, Path(out), options, progress)


def _predict(run: Path, images: Path | str, out: Path, options: Options, progress: bool) -> Predicted:
    found = find_inputs(images, out)
    checkpoint = _checkpoint(run)
    with claimed(out, KIND):
        predictor = _predictor(run, out, options)
        origin = _origin(checkpoint, predictor, options)
        outcome = predict_into(out, found, origin, _segment_by(predictor), options.extras, progress=progress)
    return _told(outcome, found)


def predict_into(
    out: Path, found: Inputs, origin: dict[str, Any], segment: Segment, extras: frozenset[str], *, progress: bool
) -> Outcome:
    """Predict what was `found` into a folder, which the caller holds (`files.claimed`).

    `origin` is what `segment` depends on. Raises as `stream.predict_all` does; the table has what is there then.
    """
    journal = Journal(out, origin)
    table = Table(out, journal)
    names = output_names(found.files, journal.names)
    try:
        with unfinished(out) as staging:
            work = Work(found.files, names, extras, out, staging, journal, table)
            outcome = predict_all(work, segment, progress=progress)
    except BaseException:
        with contextlib.suppress(OSError, SyndiffError):  # the disk is full, say: the next call writes it
            table.write()
        raise
    table.write()
    return outcome


def _told(outcome: Outcome, found: Inputs) -> Predicted:
    return Predicted(
        written=outcome.written,
        present=outcome.present,
        problems=[*found.problems, *outcome.problems],
        ignored=found.ignored,
        frames=outcome.frames,
        remarks=outcome.remarks,
        not_read=found.told(),
    )


def _predictor(run: Path, out: Path, options: Options) -> SquarePredictor:
    """The predictor; where the engine is left open, that of the masks that are there."""
    there = recorded_engine(out) if options.engine == "auto" else None
    engine: Any = there if there in ("torch", "onnx", "openvino") else options.engine
    return load(
        run,
        engine=engine,
        seed=options.seed,
        timestep=options.timestep,
        steps=options.steps,
        tta=options.tta,
    )


def _segment_by(predictor: SquarePredictor) -> Segment:
    """Segments a frame; its noise is that of its file's name, and of the frame where a file has several."""

    def segment(file: Input, frame: Frame) -> Prediction:
        case_id = f"{file.stem}/{frame.name}" if frame.name else file.stem
        return predictor.predict(frame.image, case_id=case_id)

    return segment


def _checkpoint(run: Path) -> Path:
    from syndiff.training.checkpoints import best_checkpoint

    return run if (run / "model.json").is_file() else best_checkpoint(run)


def _origin(checkpoint: Path, predictor: SquarePredictor, options: Options) -> dict[str, Any]:
    """What the masks of a checkpoint depend on: its weights, what computes them, and the settings of inference."""
    described = read_description(checkpoint, {"model": dict, "step": int})
    own = {name: described["model"].get(f"inference_{name}") for name in ("timestep", "steps", "tta")}
    chosen = {"timestep": options.timestep, "steps": options.steps, "tta": options.tta, "seed": options.seed}
    settings = {name: own.get(name) if value is None else value for name, value in chosen.items()}
    weights = sha256(checkpoint / "model.safetensors")
    return {"weights": weights, "engine": predictor.engine.name, "step": described["step"], **settings}
