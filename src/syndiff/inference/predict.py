"""Masks for any number of pictures, one at a time, so that no more than a few are held in memory."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError, shown
from syndiff.files import claimed, sha256
from syndiff.inference.engines import threads
from syndiff.inference.exported import is_export, read_card
from syndiff.inference.filling import fill, segment_by
from syndiff.inference.formats.pictures import is_picture
from syndiff.inference.formats.video import is_video
from syndiff.inference.inputs import KIND, Inputs, find_inputs
from syndiff.inference.journal import recorded_engine
from syndiff.inference.ledger import Outcome, Work
from syndiff.inference.load import checkpoint_of, load_for
from syndiff.inference.options import SMOOTH_SECONDS, EngineName, Options
from syndiff.inference.parts import PartPredictor, predict_in_parts, remove_parts
from syndiff.inference.smoothing import Smoothing
from syndiff.inference.stream import Segment, predict_all
from syndiff.models.predictor import SquarePredictor
from syndiff.models.settings import Refine
from syndiff.models.stored import WEIGHTS, read_description
from syndiff.workers.settings import Ray


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
        failed = f"; {len(self.problems)} not written or not whole, for the reasons below" if self.problems else ""
        not_read = [f"Not read: {self.not_read}"] if self.not_read else []
        return "\n".join([f"{self.written} masks{frames} written to {out}{present}{failed}", *self.remarks, *not_read])


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
    refine: Refine = "none",
    smooth: float = SMOOTH_SECONDS,
    probability: bool = False,
    overlay: bool = False,
    ray: Ray | None = None,
    progress: bool = True,
) -> Predicted:
    """Write a mask for every picture that `images` names, at the picture's own size, and a table of figures.

    `images` is a file, a folder with all below it, a glob, or "@" with a text file of paths (`inputs.find_inputs`).
    Folders are kept below `out`. A picture gives <name>.png (0 background, 255 lesion), a TIFF stack <name>.tif;
    `probability` adds <name>.probability.png (65535 is 1), `overlay` <name>.overlay.jpg with contours. predictions.csv
    has a row for every frame.

    Of a model of several classes the masks hold class numbers; where classes may overlap, a picture gives <name>.tif
    with a page for each class. <name>.probability.tif has a page for each, and contours have a colour for each.

    A video gives <name>.mp4 with contours and <name>.masks.mkv; its answers are averaged over `smooth` seconds.

    `run`, `engine`, `timestep`, `steps`, `tta`, `seed` and `refine` are those of `load`. The same call goes on where it
    stopped: a source is predicted again only where an output is missing or the source has changed, and an output that
    was changed since is never replaced. A file that cannot be read does not keep the others from being predicted; it
    is named in `problems`. On a cluster of `ray` many machines predict into one folder.

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
        refine=refine,
        smooth=smooth,
        probability=probability,
        overlay=overlay,
    )
    for name, value in (("run", run), ("images", images), ("out", out)):
        if not isinstance(value, str | Path) or not str(value):
            raise SyndiffError(f"{name} is {shown(value)}; expected a path.")
    return _predict(Path(run), images, Path(out), options, ray, progress)


def _predict(run: Path, images: Path | str, out: Path, options: Options, ray: Ray | None, progress: bool) -> Predicted:
    Smoothing(options.smooth)  # refuses what it cannot take, before anything is done
    found = find_inputs(images, out)
    if options.smooth != SMOOTH_SECONDS and not any(is_video(file.path) for file in found.files):
        raise SyndiffError("smooth has no effect: there is no video among the images; leave it out.")
    with claimed(out, KIND):
        there = recorded_engine(out) if options.engine == "auto" and not is_export(run) else None
        workers = 1 if len(found.files) == 1 and is_picture(found.files[0].path) else threads()
        predictor, workers = load_for(run, replace(options, engine=there or options.engine), workers)
        origin = _origin(run, predictor, options)
        if options.smooth != SMOOTH_SECONDS:
            origin["smooth"] = options.smooth
        if ray is not None:
            outcome = _predict_on(ray, run, found, out, origin, replace(options, engine=_name(predictor)), progress)
        else:
            remove_parts(out)
            outcome = predict_into(
                out,
                found,
                origin,
                segment_by(predictor),
                options.extras,
                workers=workers,
                smooth=options.smooth,
                progress=progress,
            )
    return _told(outcome, found)


def _predict_on(
    ray: Ray, run: Path, found: Inputs, out: Path, origin: dict[str, Any], options: Options, progress: bool
) -> Outcome:
    """Predict what was `found` into a folder, which the caller holds, on a cluster."""

    def predict_there(work: Work) -> Outcome:
        predict_part = PartPredictor(run, options, origin, work.names, among=len(work.files) > 1)
        return predict_in_parts(work, predict_part, ray, progress=progress)

    return fill(out, found.files, origin, options.extras, predict_there, smooth=options.smooth)


def _name(predictor: SquarePredictor) -> EngineName:
    """The engine that computes a predictor, as `load` takes it."""
    known: dict[str, EngineName] = {"torch": "torch", "onnx": "onnx", "openvino": "openvino"}
    return known[predictor.engine.name]


def predict_into(
    out: Path,
    found: Inputs,
    origin: dict[str, Any],
    segment: Segment,
    extras: frozenset[str],
    *,
    progress: bool,
    workers: int = 1,
    smooth: float = SMOOTH_SECONDS,
) -> Outcome:
    """Predict what was `found` into a folder, which the caller holds (`files.claimed`).

    `origin` is what `segment` depends on; `workers` threads may call it at once. Raises as `stream.predict_all` does;
    the table has what is there then.
    """

    def predict_here(work: Work) -> Outcome:
        return predict_all(work, segment, workers=workers, progress=progress)

    return fill(out, found.files, origin, extras, predict_here, smooth=smooth)


def _told(outcome: Outcome, found: Inputs) -> Predicted:
    for source in outcome.empty:
        found.ignore("files without a picture", source)
    return Predicted(
        written=outcome.written,
        present=outcome.present,
        problems=[*found.problems, *outcome.problems],
        ignored=found.ignored,
        frames=outcome.frames,
        remarks=outcome.remarks,
        not_read=found.told(),
    )


def _origin(run: Path, predictor: SquarePredictor, options: Options) -> dict[str, Any]:
    """What is written depends on: the weights, what computes them, and the settings of inference."""
    engine = predictor.engine.name
    if is_export(run):
        card = read_card(run)
        last = card.schedule is None or card.timestep == card.schedule.timesteps - 1
        settings = {"timestep": -1 if last else card.timestep, "steps": card.steps}
        made = {"weights": card.weights, "step": card.provenance["step"]}
        engine += "" if card.precision == "float32" else f" {card.precision}"
    else:
        checkpoint = checkpoint_of(run)
        described = read_description(checkpoint, {"model": dict, "step": int})
        own = {name: described["model"].get(f"inference_{name}") for name in ("timestep", "steps")}
        given = {"timestep": options.timestep, "steps": options.steps}
        settings = {name: own[name] if value is None else value for name, value in given.items()}
        made = {"weights": sha256(checkpoint / WEIGHTS), "step": described["step"]}
    wide = _wide(predictor)
    look = {} if options.refine == "none" else {"refine": options.refine}
    targets = predictor.engine.targets.described()
    chosen = {**settings, "tta": predictor.tta, "seed": options.seed, **look}
    return {**made, "engine": engine, **chosen, **wide, **targets}


def _wide(predictor: SquarePredictor) -> dict[str, Any]:
    """The thresholds of the wide contours, for the record; nothing without any."""
    targets, found = predictor.engine.targets, predictor.wide_thresholds
    if not found or not targets.several:
        return {"wide_threshold": found[0]} if found else {}
    return {"wide_thresholds": {name: each for name, each in zip(targets.names, found, strict=True) if each}}
