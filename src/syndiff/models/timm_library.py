"""timm, imported where somebody asks for one of its networks, and without torchvision where that is not installed.

timm's metadata and its module `timm.data` ask for torchvision, whose binary must match torch's exact build. The
networks need nothing of it. So where it is absent, stand-ins answer for its names while timm is imported, and are gone
afterwards: nobody else finds a torchvision that is not there, and what would really use one says that it is missing.
"""

import enum
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from syndiff.errors import SyndiffError, did_you_mean

PREFIX = "timm:"
"""What a setting has before the name of a network of timm."""

_STAND_INS = (
    *("torchvision", "torchvision.datasets", "torchvision.ops", "torchvision.ops.misc"),
    *("torchvision.transforms", "torchvision.transforms.functional"),
)

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@lru_cache
def import_timm() -> Any:
    """The package timm. Raises SyndiffError where it is not installed, or cannot be imported."""
    if importlib.util.find_spec("timm") is None:
        raise SyndiffError(
            "model.encoder: networks of timm need the package timm, which is not installed. Install it with: pip "
            "install 'syndiff[timm]', or choose efficientnet-lite0."
        )
    with _without_torchvision():
        try:
            import timm
        except (ImportError, RuntimeError, OSError) as error:  # a torchvision for another torch raises any of them
            raise SyndiffError(
                f"model.encoder: the package timm cannot be imported ({' '.join(str(error).split())[:200]}). A "
                "torchvision that was built for another torch does that: install the matching one, or uninstall it; "
                "it is not needed here."
            ) from None
    return timm


def timm_name(encoder: str) -> str:
    """The name of timm's network in a setting, "timm:NAME". Raises SyndiffError for one that timm does not have."""
    name = encoder.removeprefix(PREFIX)
    timm = import_timm()
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        family = re.split(r"[_\d]", architecture)[0]
        alike = [each for each in known if each.startswith(family)][:8]
        beginning = f" Some that begin with {family}: {', '.join(alike)}." if alike else ""
        raise SyndiffError(
            f"model.encoder: timm {timm.__version__} has no network {architecture!r}"
            f"{did_you_mean(architecture, known)}.{beginning}"
        )
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        offered = f"it has {', '.join(tags)}" if tags else "it has none"
        raise SyndiffError(f"model.encoder: timm's {architecture} has no weights {tag!r}; {offered}.")
    return name


def about_network(name: str) -> dict[str, Any]:
    """What timm notes of a network that it has: mean and std of its inputs, fixed_input_size, classifier, hf_hub_id."""
    noted = import_timm().get_pretrained_cfg(name)
    usual = {"mean": _IMAGENET_MEAN, "std": _IMAGENET_STD, "fixed_input_size": False, "classifier": (), "hf_hub_id": ""}
    return {key: getattr(noted, key, None) or value for key, value in usual.items()}


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Stand-ins for torchvision while the body runs, where it is not installed."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    modules = {name: _Absent(name) for name in _STAND_INS}
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(modules[parent], own, module)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


class _Absent(ModuleType):
    """A module whose every name is a class that cannot be used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "InterpolationMode":  # the only one that is looked into at import
            return enum.Enum(name, ["NEAREST", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS"])
        return type(name, (), {"__init__": _refuse})


def _refuse(*_: Any, **__: Any) -> None:
    raise ImportError("this part of timm needs torchvision, which is not installed")
