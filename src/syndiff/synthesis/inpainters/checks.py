"""What is asked of an inpainter before it paints and of every picture that it gives: for those that users bring."""

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.bounds import fits
from syndiff.data.seen import Seen
from syndiff.errors import SyndiffError, listed, shown
from syndiff.synthesis.inpainters.base import Inpainter, InpaintRequest
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.settings import SynthesisSettings

_MEND = "docs/how-to/add-an-inpainter.md shows a complete one."
_VALUES = {"name": str, "capabilities": Capabilities, "seen": Seen}
_METHODS = ("check_prompt", "describe", "inpaint")
_DESCRIBED: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "model": (str, type(None)),
    "revision": (str, type(None)),
    "hash": (str, type(None)),
    "learned_from": (list, tuple),
    "settings": (dict,),
}
_ROUNDING = 0.01
"""How far a picture may lie outside of [0, 1], as one does that was resized with a cubic filter."""


def check_parts(inpainter: object) -> None:
    """Raise SyndiffError, naming what is missing or of another type, unless `inpainter` has all parts of one."""
    if isinstance(inpainter, type):
        raise SyndiffError(
            f"inpainter is the class {inpainter.__name__}; give one of its objects: inpainter={inpainter.__name__}()."
        )
    who = f"the inpainter {type(inpainter).__name__}"
    if missing := [part for part in (*_VALUES, *_METHODS) if not hasattr(inpainter, part)]:
        raise SyndiffError(f"{who} lacks {listed(missing)}; add {'them' if missing[1:] else 'it'}. {_MEND}")
    for part, kind in _VALUES.items():
        if not isinstance(value := getattr(inpainter, part), kind):
            expected = "text" if kind is str else f"an object of the class {kind.__name__}"
            raise SyndiffError(f"{who}: {part} is {shown(value)}, expected {expected}. {_MEND}")
    for part in _METHODS:
        if not callable(value := getattr(inpainter, part)):
            raise SyndiffError(f"{who}: {part} is {shown(value)}, expected a method. {_MEND}")


def described(inpainter: Inpainter) -> dict[str, Any]:
    """What the inpainter says of itself for the manifest.

    Raises SyndiffError for a description that lacks something or that no JSON can hold.
    """
    content: Any = inpainter.describe()
    who = f"the inpainter {inpainter.name}: describe()"
    if not isinstance(content, dict):
        raise SyndiffError(f"{who} gives {shown(content)}, expected a dict with {listed(_DESCRIBED)}. {_MEND}")
    if missing := [key for key in _DESCRIBED if key not in content]:
        raise SyndiffError(
            f"{who} gives a dict without {listed(missing)}; add {'them' if missing[1:] else 'it'}. {_MEND}"
        )
    for key, kinds in _DESCRIBED.items():
        if not isinstance(content[key], kinds):
            words = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            raise SyndiffError(f"{who} gives {shown(content[key])} as {key}, expected {words}. {_MEND}")
    try:
        json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SyndiffError(
            f"{who} gives what no JSON can hold ({error}); use text, numbers, true or false, lists and dicts alone."
        ) from None
    return dict(content)


def check_abilities(inpainter: Inpainter, synthesis: SynthesisSettings) -> None:
    """Raise SyndiffError where the inpainter's capabilities cannot be, or not do what the settings ask."""
    can, who = inpainter.capabilities, f"the inpainter {inpainter.name}: capabilities"
    if not fits(can.batch_size, int) or can.batch_size < 1:
        raise SyndiffError(f"{who}.batch_size is {shown(can.batch_size)}, expected a whole number, 1 or more.")
    if not fits(can.margin, float) or not 0 <= can.margin <= 100:
        raise SyndiffError(f"{who}.margin is {shown(can.margin)}, expected a number from 0 to 100.")
    if synthesis.background_lesion != "keep" and not can.paints_from_text:
        raise SyndiffError(
            f"background_lesion is {synthesis.background_lesion!r}, but {inpainter.name} paints nothing from text "
            "(capabilities.paints_from_text is False); set it to keep, or choose an inpainter that paints from text."
        )


def versions_of(inpainter: Inpainter, others: Sequence[str]) -> dict[str, str]:
    """Versions of the libraries that can change a pixel: those of the inpainter and `others`.

    Raises SyndiffError for one that is not installed.
    """
    found = {}
    for library in sorted({*others, *inpainter.capabilities.libraries}):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            raise SyndiffError(
                f"the inpainter {inpainter.name} needs the library {library!r} (capabilities.libraries), which is not "
                "installed. Install it, or correct the name: it is the one that pip uses, such as opencv-python."
            ) from None
    return found


def check_paintings(inpainter: Inpainter, requests: Sequence[InpaintRequest], paintings: Any) -> None:
    """Raise SyndiffError unless `paintings` are a picture of the frame's size for each request, from 0 to 1.

    Only pixels inside the masks count. NaN and infinities pass: a gate records them as a failed attempt.
    """
    who = f"the inpainter {inpainter.name}"
    found = len(paintings) if isinstance(paintings, list | tuple | np.ndarray) else shown(paintings)
    if found != len(requests):
        raise SyndiffError(f"{who} returned {found} for {len(requests)} requests; expected a picture for each.")
    for request, painted in zip(requests, paintings, strict=True):
        if not isinstance(painted, np.ndarray) or painted.shape != request.image.shape:
            what = f"shape {painted.shape}" if isinstance(painted, np.ndarray) else f"type {type(painted).__name__}"
            raise SyndiffError(
                f"{who} returned a picture of {what} for a frame of {request.image.shape}; expected an array of the "
                "frame's shape, height x width x 3, with values from 0 to 1."
            )
        inside = painted[request.mask]
        low, high = _range(inside)
        if painted.dtype.kind != "f" or low < -_ROUNDING or high > 1 + _ROUNDING:
            raise SyndiffError(
                f"{who} returned a picture of {painted.dtype} values from {low:g} to {high:g}; expected floating-point "
                "values from 0 to 1. Divide values from 0 to 255 by 255, or limit them with .clip(0, 1)."
            )


def _range(values: NDArray) -> tuple[float, float]:
    """The lowest and the highest finite value; 0 where there is none."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
