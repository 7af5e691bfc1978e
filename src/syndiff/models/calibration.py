"""The guarantee of a model: the threshold of its wide contour and what may be said of it. No torch.

`syndiff calibrate` stores it in the JSON that describes a model, under "calibration"; an exported model has the same.
Of several classes, each that was calibrated has its own there, under its name.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from syndiff.bounds import Bounds, Share, ShareBelowOne
from syndiff.data.targets import Targets
from syndiff.documents import check_object, read_object, rebuild
from syndiff.errors import SyndiffError, shown
from syndiff.files import write_record

KEY = "calibration"
_MEND = "Run `syndiff calibrate` again."
_Inner = Annotated[float, Bounds(0, 1, above=True, below=True)]
_Count = Annotated[int, Bounds(0, math.inf)]
log = logging.getLogger("syndiff")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `syndiff calibrate` found for one model: a sentence, and the threshold that makes it true.

    Of several classes each has one of its own; what is called the lesion are the pixels of the class then.

    sentence: what may be said of the wide contour, in words.
    threshold: a pixel belongs to the wide contour where its probability is above it, or where the mask has it.
    kind: "groups", a statement on single patients, or "average", on their mean.
    miss: the share of the lesion's pixels that may be missed.
    coverage, confidence: shares of new patients and of calibrations; None on average.
    groups, frames: patients with a lesion, and all their frames, that were calibrated on.
    failures: how many of these patients the wide contour may fail; None on average.
    group_per_case: whether one image a patient was assumed.
    extra_of_frame: area that the wide contour adds to the mask, as a mean share of the frame.
    extra_of_mask: the same area as a share of all masks' area; None where every mask is empty.
    dataset, fingerprint: of the cases that were calibrated on.
    seed: of the noise. It is none of the settings that the guarantee holds for: noise is drawn anew for every case.
    timestep, steps, tta: the settings of inference that it holds for; the first two None for a network without them.
    weights: SHA-256 of model.safetensors.

    >>> found = syndiff.calibrate("runs/mine", "my-polyps", average=True, miss=0.5)
    >>> 0 < found.threshold <= 0.5
    True
    """

    sentence: str
    threshold: Annotated[float, Bounds(0, 0.5, above=True)]
    kind: Literal["groups", "average"]
    miss: ShareBelowOne
    coverage: _Inner | None
    confidence: _Inner | None
    groups: Annotated[int, Bounds(1, math.inf)]
    frames: Annotated[int, Bounds(1, math.inf)]
    failures: _Count | None
    group_per_case: bool
    extra_of_frame: Share
    extra_of_mask: Annotated[float, Bounds(0, math.inf, below=True)] | None
    dataset: str
    fingerprint: str
    seed: _Count
    timestep: _Count | None
    steps: _Count | None
    tta: Annotated[int, Bounds(1, 8)]
    weights: str

    def __post_init__(self) -> None:
        statistical = (self.coverage, self.confidence, self.failures)
        if any((value is None) != (self.kind == "average") for value in statistical):
            raise SyndiffError(
                f"coverage, confidence and failures are {statistical}, expected numbers for groups and null on average."
            )

    @property
    def width(self) -> str:
        """What the wide contour adds to the mask, in a sentence."""
        of_mask = "" if self.extra_of_mask is None else f", {100 * self.extra_of_mask:.0f} % of the masks' area"
        return (
            f"It takes in every pixel with a probability above {self.threshold:g}, which adds "
            f"{100 * self.extra_of_frame:.1f} % of a frame to the mask in the mean{of_mask}."
        )

    def __str__(self) -> str:
        return "\n".join(
            [
                self.sentence,
                self.width,
                "Where patients have several images, it does not hold."
                if self.group_per_case
                else "A patient is a group of groups.csv here, and has about as many frames as those had.",
                "It is not valid at another centre, for other patients or equipment, or with other settings.",
                f"The {self.frames} cases of {self.dataset} are used up: judge the wide contour on others.",
            ]
        )


def statement(
    *,
    groups: int,
    miss: float,
    coverage: float | None,
    confidence: float | None,
    group_per_case: bool,
    class_name: str | None = None,
) -> str:
    """The sentence that a calibration makes true; on the average without coverage and confidence.

    `class_name` is that of one of several classes.
    """
    contour = "the wide contour" if class_name is None else f"the wide contour of {class_name}"
    pixels = "the lesion's pixels" if class_name is None else "its pixels"
    assumed = " One image a patient was assumed." if group_per_case else ""
    if coverage is None:
        return (
            f"On average over new patients like the {groups} calibration patients, and over calibrations like this "
            f"one, {contour} misses at most {_percent(miss)} of {pixels} of a frame.{assumed}"
        )
    return (
        f"With {_percent(confidence)} confidence, in at least {_percent(coverage)} of new patients like the {groups} "
        f"calibration patients, {contour} misses at most {_percent(miss)} of {pixels} in every frame.{assumed}"
    )


def read_calibrations(described: Mapping[str, Any], origin: Path | str, targets: Targets) -> dict[str, Calibration]:
    """The calibrations in a model's description, by class of `targets`; a class without one is left out.

    The description was read from `origin`. Raises SyndiffError for a damaged one, naming the first value that is wrong.
    """
    if KEY not in described:
        return {}
    where = f"{origin}: {KEY}"
    if not targets.several:
        return {targets.names[0]: rebuild(Calibration, described[KEY], where, mend=_MEND)}
    found = check_object(where, described[KEY], {}, mend=_MEND)
    if unknown := sorted(found.keys() - set(targets.names)):
        raise SyndiffError(f"{where} is of {shown(unknown[0])}, but the model tells apart {targets}. {_MEND}")
    return {
        name: rebuild(Calibration, found[name], f"{where}.{name}", mend=_MEND)
        for name in targets.names
        if name in found
    }


def store_calibration(path: Path, calibration: Calibration, targets: Targets, class_name: str | None = None) -> bool:
    """Write it into the description of a model, atomically; all else there stays as it is. True where one is replaced.

    `class_name` is that of one of several classes of `targets`, whose others keep theirs.
    """
    described = read_object(path, {})
    if class_name is None:
        write_record(path, {**described, KEY: asdict(calibration)})
        return KEY in described
    stored = described.get(KEY)
    stored = stored if isinstance(stored, dict) else {}
    kept = {name: stored[name] for name in targets.names if name in stored and name != class_name}
    write_record(path, {**described, KEY: {**kept, class_name: asdict(calibration)}})
    return class_name in stored


def inference_settings(
    stored: Mapping[str, Any], *, timestep: int | None = None, steps: int | None = None, tta: int | None = None
) -> dict[str, int | None]:
    """Timestep, steps and tta of a prediction: those given, else those of `stored`, a model's settings.

    The timestep is the one that sampling starts from, never -1. A network without timesteps has None of these.
    """
    check_object("model", stored, {f"inference_{name}": int for name in ("timestep", "steps", "tta")})
    own = {name: stored[f"inference_{name}"] for name in ("timestep", "steps", "tta")}
    given = {"timestep": timestep, "steps": steps, "tta": tta}
    chosen = {name: own[name] if value is None else value for name, value in given.items()}
    if stored["kind"] != "diffusion":
        return {**chosen, "timestep": None, "steps": None}
    return {**chosen, "timestep": stored["timesteps"] - 1 if chosen["timestep"] == -1 else chosen["timestep"]}


def wide_thresholds(
    described: Mapping[str, Any],
    origin: Path | str,
    targets: Targets,
    *,
    weights: str | None,
    inference: Mapping[str, int | None],
    refined: bool = False,
) -> tuple[float | None, ...]:
    """The threshold of the wide contour of each class, from a model's description that was read from `origin`.

    `weights` is the SHA-256 of the weights that are used, None where it is not known; `inference` the settings that
    `inference_settings` gives. None for a class that was not calibrated, or for other settings or without the second
    look that makes it `refined`: then a warning says so. Empty where that is every class.

    Raises SyndiffError for a damaged calibration, and for one of other weights.
    """
    thresholds: dict[str, float] = {}
    for name, calibration in read_calibrations(described, origin, targets).items():
        whose = f"{origin}: {name}" if targets.several else str(origin)
        if weights is not None and weights != calibration.weights:
            raise SyndiffError(
                f"{whose}: {KEY} is of the weights {shown(calibration.weights)}, but those here are {shown(weights)}. "
                f"{_MEND}"
            )
        other = [each for each, value in inference.items() if getattr(calibration, each) != value]
        if not other and not refined:
            thresholds[name] = calibration.threshold
            continue
        changed = [f"{each} {getattr(calibration, each)} (now {inference[each]})" for each in other]
        found = ", ".join([*changed, *(["refine none (now a second look)"] if refined else [])])
        log.warning(
            f"{whose} was calibrated with {found}: its guarantee does not hold here, and no wide contour is drawn. Use "
            "the settings of the calibration, or run `syndiff calibrate` with these."
        )
    return tuple(map(thresholds.get, targets.names)) if thresholds else ()


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.6g} %"
