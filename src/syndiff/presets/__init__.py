"""Presets and configuration files: data, never code; every value is checked against the class that owns it."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typeguard

from syndiff.data.augmentation_settings import AugmentationSettings
from syndiff.documents import parse_yaml, read_yaml
from syndiff.errors import SyndiffError, shown
from syndiff.models.inpainter_settings import InpaintingSettings
from syndiff.models.segmenter_settings import SegmenterSettings
from syndiff.synthesis.gates.settings import GatesSettings
from syndiff.synthesis.inpainters.compact_settings import CompactSettings
from syndiff.synthesis.inpainters.sdxl_settings import SdxlSettings
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.training.inpainting_settings import AdaptSettings
from syndiff.training.lora_settings import LoraSettings
from syndiff.training.settings import TrainingSettings

_FOLDER = Path(__file__).parent
_REVISIONS = {
    "model.autoencoder": "model.autoencoder_revision",
    "model.denoiser_weights": "model.denoiser_weights_revision",
    "painter.autoencoder": "painter.autoencoder_revision",
    "synthesis.model": "synthesis.revision",
}
"""Settings that name weights, and those that name a revision of them."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What only the whole pipeline decides.

    Attributes:
        minutes: training time of each segmenter, the control included. The number of steps that fit is measured on
            this machine and written to plan.json. 0 takes `training.steps` instead.
        tolerance: pixels within which two surfaces agree, for the normalised surface Dice.
    """

    minutes: float = 10.0
    tolerance: float = 2.0

    def __post_init__(self) -> None:
        if not (0 <= self.minutes < math.inf and 0 < self.tolerance < math.inf):
            raise SyndiffError(
                f"run settings: found minutes={self.minutes} and tolerance={self.tolerance}; minutes must be 0 or "
                "more, tolerance above 0."
            )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of a run, by the room that owns it."""

    model: SegmenterSettings = field(default_factory=SegmenterSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    synthesis: SynthesisSettings = field(default_factory=SynthesisSettings)
    gates: GatesSettings = field(default_factory=GatesSettings)
    compact: CompactSettings = field(default_factory=CompactSettings)
    sdxl: SdxlSettings = field(default_factory=SdxlSettings)
    painter: InpaintingSettings = field(default_factory=InpaintingSettings)
    adapt: AdaptSettings = field(default_factory=AdaptSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    run: RunSettings = field(default_factory=RunSettings)
    chosen: frozenset[str] = frozenset()
    """The settings, as section.name, that a configuration file or --set gave."""

    def __post_init__(self) -> None:
        for name in sorted(self.chosen):
            section = name.split(".")[0]
            if section in ("compact", "sdxl") and section != self.synthesis.inpainter:
                raise SyndiffError(
                    f"setting {name} has no effect with the inpainter {self.synthesis.inpainter}; leave it out or set "
                    f"synthesis.inpainter to {section}."
                )
        if self.training.coarse_share and self.model.coarse_size == self.model.image_size:
            raise SyndiffError(
                f"training setting coarse_share: {self.training.coarse_share} has no effect at image_size "
                f"{self.model.image_size}, the smallest that the model can have; set training.coarse_share to 0."
            )

    def refuse(self, verb: str, *names: str) -> None:
        """Raise SyndiffError when one of `names` (section or section.name) was chosen though `verb` does not use it."""
        self._refuse(verb, (chosen for chosen in self.chosen if _names(chosen, names)))

    def refuse_all_but(self, verb: str, *names: str) -> None:
        """Raise SyndiffError when anything but `names` (section or section.name), all that `verb` uses, was chosen."""
        self._refuse(verb, (chosen for chosen in self.chosen if not _names(chosen, names)))

    def _refuse(self, verb: str, idle: Iterable[str]) -> None:
        for chosen in sorted(idle):
            raise SyndiffError(f"setting {chosen} has no effect on `syndiff {verb}`; leave it out.")

    def plain(self) -> dict[str, Any]:
        """Nested plain values, as YAML and JSON hold them."""
        return {
            section: {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
            for section, values in asdict(self).items()
            if section != "chosen"
        }


def _names(chosen: str, names: Sequence[str]) -> bool:
    return chosen in names or chosen.split(".")[0] in names


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_settings(preset: str, config: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """A preset, changed by a YAML file of the same sections, changed by `section.name=value` overrides."""
    if preset not in preset_names():
        raise SyndiffError(f"preset {preset!r} is unknown; choose one of {', '.join(preset_names())}.")
    layers = _preset_layers(preset)
    shipped = len(layers)
    if config is not None:
        layers.append((str(config), _read_yaml(config)))
    layers += [(f"--set {item}", _parse_override(item)) for item in overrides]
    sections = {item.name: get_type_hints(Settings)[item.name] for item in fields(Settings) if item.name != "chosen"}
    merged: dict[str, dict[str, Any]] = {name: {} for name in sections}
    for origin, layer in layers:
        for section, values in layer.items():
            if section not in sections:
                raise SyndiffError(f"{origin}: unknown section {section!r}{_suggest(section, sections)}.")
            if not isinstance(values, Mapping):
                raise SyndiffError(f"{origin}: section {section} must hold names and values, found {shown(values)}.")
            hints = get_type_hints(sections[section])
            for name, value in values.items():
                merged[section][name] = _checked(origin, section, name, value, hints)
    chosen = frozenset(
        f"{section}.{name}" for _, layer in layers[shipped:] for section in layer for name in layer[section]
    )
    for source, revision in _REVISIONS.items():
        if source in chosen and revision not in chosen:  # the preset's revision is one of the preset's source
            section, name = revision.split(".")
            merged[section].pop(name, None)
    return Settings(**{name: cls(**merged[name]) for name, cls in sections.items()}, chosen=chosen)


def _preset_layers(preset: str) -> list[tuple[str, dict[str, Any]]]:
    """A preset's sections, after those of the preset that it names as its `base`."""
    content = _read_yaml(_FOLDER / f"{preset}.yaml")
    base = content.pop("base", None)
    return [*(_preset_layers(base) if base else []), (f"preset {preset}", content)]


def _checked(origin: str, section: str, name: str, value: Any, hints: Mapping[str, Any]) -> Any:
    if name not in hints:
        raise SyndiffError(f"{origin}: unknown setting {section}.{name}{_suggest(name, hints)}.")
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, bool) and hints[name] is not bool:
        value = str(value).lower()  # Python counts True as a number; a user does not
    try:
        typeguard.check_type(value, hints[name])
    except typeguard.TypeCheckError:
        raise SyndiffError(
            f"{origin}: {section}.{name} is {shown(value)}, expected {_in_words(hints[name])}."
        ) from None
    return value


def _in_words(kind: Any) -> str:
    """A setting's type, for people."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if kind in words:
        return words[kind]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        return f"a list, such as [a, b], each {_in_words(get_args(kind)[0])}"
    return str(kind)


def _read_yaml(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SyndiffError(f"configuration {path} must hold sections such as model: and training:.")
    return content


def _parse_override(item: str) -> dict[str, Any]:
    path, equals, text = item.partition("=")
    section, dot, name = path.partition(".")
    if not equals or not dot:
        raise SyndiffError(f"--set {shown(item)}: expected section.name=value, for example training.steps=500.")
    return {section: {name: parse_yaml(text, f"--set {shown(item)}: the value", mend="Put it in quotes.")}}


def _suggest(word: object, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; expected one of {', '.join(known)}"
