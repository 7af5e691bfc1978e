"""What the page draws of a prediction: contours as SVG paths, and small maps as PNG; every number beside them."""

import base64
import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.masks import count_components
from syndiff.data.written_masks import encode_masks
from syndiff.imaging import encode_png
from syndiff.inference.serve.contours import svg_path
from syndiff.models.predictor import Prediction

_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_CIVIDIS = ((0, 34, 78), (67, 78, 108), (125, 124, 120), (188, 175, 111), (254, 232, 56))
_FULL_DOUBT = 0.5  # the largest standard deviation that numbers in [0, 1] can have


def answer_content(answer: Prediction) -> dict[str, Any]:
    """A prediction for the page, as JSON takes it.

    mask, wide: `path` (SVG, in pixels of the image), `lesions` and `share` of the frame; wide is null without a
    guarantee. probability: a PNG at the model's own size, to be stretched over the image. disagreement: `score` and
    such a PNG of the standard deviation over the views, 0 to 0.5; null for a single view. seconds: by stage. png: the
    mask with the pixels that `syndiff predict` writes, in base64; null where classes may overlap, whose pages are tiff.

    classes: of several classes, name, number and what `mask` has of each; the rest is of any class then, but lesions
    are those of all classes together, and `wide` has such `classes` too, null for one without a guarantee.
    """
    doubt = None
    if answer.disagreement is not None:
        spread = answer.views.std(0) / _FULL_DOUBT
        doubt = {"score": answer.disagreement, "image": _map(spread, _CIVIDIS)}
    (height, width), targets = answer.mask.shape, answer.targets
    named = zip(targets.names, targets.numbers, answer.masks, strict=True)
    paged = targets.several and targets.overlap
    png = None if paged else _png(answer)
    classes = [{"name": name, "number": number, **_contour(mask)} for name, number, mask in named]
    mask = _contour(answer.mask)
    if targets.several:  # as `syndiff predict` counts them: those of two classes that touch are two
        mask["lesions"] = sum(each["lesions"] for each in classes)
    wide = None if answer.wide is None else _contour(answer.wide)
    if wide is not None and targets.several:
        wide["classes"] = [_contour(answer.wides[name]) if name in answer.wides else None for name in targets.names]
    return {
        "width": width,
        "height": height,
        "mask": mask,
        "wide": wide,
        "probability": _map(answer.views.mean(0), _VIRIDIS),
        "disagreement": doubt,
        "seconds": answer.seconds,
        "png": png,
        "tiff": base64.b64encode(encode_masks(answer.masks, targets)).decode() if paged else None,
        "classes": classes if targets.several else [],
    }


def _png(answer: Prediction) -> str:
    labels = Image.fromarray(answer.labels("A PNG"))
    return base64.b64encode(encode_png(labels, compress_level=1, compress_type=zlib.Z_RLE)).decode()


def _contour(mask: NDArray[np.bool_]) -> dict[str, Any]:
    return {"path": svg_path(mask), "lesions": count_components(mask), "share": np.count_nonzero(mask) / mask.size}


def _map(share: NDArray[np.floating], colours: tuple[tuple[int, int, int], ...]) -> str:
    """Numbers from 0 to 1 (hxw) as a coloured PNG in an address of its own; 0 is transparent."""
    places = np.linspace(0, 1, len(colours))
    table = np.empty((256, 4), np.uint8)
    level = np.linspace(0, 1, 256)
    for channel in range(3):
        table[:, channel] = np.interp(level, places, [colour[channel] for colour in colours])
    table[:, 3] = np.minimum(1, level * 4) * 255  # below a quarter it fades
    content = io.BytesIO()
    Image.fromarray(table[(share.clip(0, 1) * 255).round().astype(np.uint8)]).save(content, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
