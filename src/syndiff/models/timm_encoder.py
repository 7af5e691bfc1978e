"""Networks of timm as backbones, through timm's own interface for features."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from syndiff.errors import SyndiffError
from syndiff.models.network import WeightSource
from syndiff.models.pyramid import Backbone
from syndiff.models.settings import SegmenterSettings
from syndiff.models.tensors import read_tensors
from syndiff.models.timm_library import about_network, import_timm, timm_name
from syndiff.models.timm_weights import WHAT, Found, find, source_of

_OTHER_SIZE = 32
_REFUSALS = (AssertionError, AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What timm's networks raise for a size that they cannot take, or where they give no maps."""


class Shapes(NamedTuple):
    """What a network of timm makes of a square image of `size` pixels, the next multiple of its patches.

    picks: its maps that are used, the deepest of each stride. any_size: whether it takes images of other sizes too.
    """

    picks: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int
    size: int
    any_size: bool


class TimmBackbone(Backbone):
    """A network of timm; `mean` and `deviation` of its inputs, images in [0, 1], are kept with its weights.

    An image whose sides are no multiples of the network's patches is resized, bilinearly, to the next such multiple:
    192 pixels become 196 for patches of 14. A network for one size only gets every image at that size.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: Any, shapes: Shapes, *, mean: Any, deviation: Any) -> None:
        super().__init__()
        self.network, self.shapes = network, shapes
        self.channels, self.strides = shapes.channels, shapes.strides
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))

    def forward(self, image_bchw: Tensor) -> list[Tensor]:
        """Its maps, finest first."""
        x = (image_bchw - self.mean) / self.deviation
        size = self._size_inside(x.shape[-2], x.shape[-1])
        if x.shape[-2:] != size:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        maps = self.network(x)
        return [maps[pick].permute(0, 3, 1, 2) if _last(self.network) else maps[pick] for pick in self.shapes.picks]

    def _size_inside(self, height: int, width: int) -> tuple[int, int]:
        if not self.shapes.any_size:
            return self.shapes.size, self.shapes.size
        return _next(height, self.shapes.multiple), _next(width, self.shapes.multiple)


def timm_backbone(settings: SegmenterSettings) -> TimmBackbone:
    """The network of `model.encoder`, at `image_size`, with the weights that `settings` start it from.

    Raises SyndiffError for a name that timm does not have, a network that cannot serve as a backbone at this size, and
    weights that are missing, damaged or of another network.
    """
    name = timm_name(settings.encoder)
    shapes = _shapes(name, settings.image_size)
    return _build(name, shapes, find(settings, name, fetch=True) if settings.pretrained else None)


def timm_source(settings: SegmenterSettings, *, fetch: bool) -> WeightSource:
    """Where `timm_backbone` takes its weights from; with `fetch` off nothing is fetched.

    Raises SyndiffError as `timm_backbone` does; for weights only where they are on this machine.
    """
    name = timm_name(settings.encoder)
    shapes = _shapes(name, settings.image_size)
    if not settings.pretrained:
        return WeightSource("vision encoder", "random")
    found = find(settings, name, fetch=fetch)
    if found is not None:
        _build(name, shapes, found, device="meta")
    revision = settings.encoder_weights_revision
    source = source_of(settings, name) + (f" at {revision}" if revision else "")
    return WeightSource("vision encoder", source, fetched=found is None)


def _next(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _last(network: Any) -> bool:
    """Whether the maps have their channels last."""
    return bool(getattr(network, "output_fmt", None) == "NHWC")


@lru_cache
def _shapes(name: str, image_size: int) -> Shapes:
    """What the network makes of images of this size, found out on the meta device: nothing is computed."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            reductions: list[int] = _create(name).feature_info.reduction()
            multiple = math.lcm(*reductions)
            size = _next(image_size, multiple)
            network = _create(name, size=size).eval()
            maps = network(torch.empty(1, 3, size, size))
        except _REFUSALS as error:
            raise SyndiffError(
                f"model.encoder: timm's {name} cannot be used at image_size {image_size} (timm: {_brief(error)}). "
                "Choose another image_size, or a network that gives maps of features, such as timm:pvt_v2_b2."
            ) from None
        try:
            network(torch.empty(1, 3, *2 * [size + math.lcm(multiple, _OTHER_SIZE)]))
            any_size = True
        except _REFUSALS:
            any_size = False
    deepest = {reduction: index for index, reduction in enumerate(reductions)}
    strides = tuple(sorted(deepest))
    picks = tuple(deepest[stride] for stride in strides)
    axis = 3 if _last(network) else 1
    return Shapes(picks, tuple(maps[pick].shape[axis] for pick in picks), strides, multiple, size, any_size)


def _create(name: str, *, size: int = 0, **more: Any) -> Any:
    """timm's network for features; one that is for a single size, or starts from one, is made for `size` if given."""
    timm = import_timm()
    if not about_network(name)["fixed_input_size"]:
        return timm.create_model(name, features_only=True, **more)
    arguments = {"features_only": True, **({"img_size": size} if size else {}), **more}
    try:  # vision transformers take other sizes only when told so, and others do not know the word
        return timm.create_model(name, dynamic_img_size=True, **arguments)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        return timm.create_model(name, **arguments)


def _build(name: str, shapes: Shapes, found: Found | None, *, device: str | None = None) -> TimmBackbone:
    """The backbone, from random weights or those that were found; on the device "meta" only their shapes are checked.

    Of the weights only the classifier's are left out, and none may be missing.
    """
    about = about_network(name)
    if found is None:
        return TimmBackbone(_create(name, size=shapes.size), shapes, mean=about["mean"], deviation=about["std"])
    about = {**about, **found.config}
    heads = [about["classifier"]] if isinstance(about["classifier"], str) else about["classifier"] or []
    state = {
        key: value.to(device or "cpu")
        for key, value in read_tensors(found.file).items()
        if key.rpartition(".")[0] not in heads
    }
    overlay = {"state_dict": state, "num_classes": 0, "label_offset": 0}
    try:
        with torch.device(device or "cpu"), _all_or_nothing():
            network = _create(name, size=shapes.size, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError) as error:
        raise SyndiffError(
            f"{found.file} does not fit timm's {name} at {shapes.size} pixels (timm: {_brief(error)}). Name the "
            f"network of these weights as model.encoder, or give others as {WHAT}; some networks of one size take "
            "weights at that size only."
        ) from None
    for module in network.modules():
        if hasattr(module, "pretrained_cfg"):  # it would keep the state, and copy it with the network
            module.pretrained_cfg = module.default_cfg = {}
    return TimmBackbone(network, shapes, mean=about["mean"], deviation=about["std"])


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    """Raise KeyError where weights were missing in a file that timm loads: of some networks it only logs that.

    What a file has beyond the features, such as layers before the classifier, is of no interest, and not told.
    """
    told: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        told.append(record.getMessage())
        return False

    builder = logging.getLogger("timm.models._builder")
    level = builder.level
    builder.addFilter(keep)
    builder.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of what timm does to positions
            yield
    finally:
        builder.removeFilter(keep)
        builder.setLevel(level)
    for text in told:
        if text.startswith("Missing keys"):
            raise KeyError(text)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
