"""Presets and configuration files: data, never code; every value is checked against the class that owns it."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from syndiff.bounds import Bounds, Section, kinds_of
from syndiff.data.augmentation_settings import AugmentationSettings
from syndiff.documents import parse_yaml, read_yaml
from syndiff.errors import SyndiffError, shown
from syndiff.models.inpainter_settings import InpaintingSettings
from syndiff.models.segmenter_settings import SegmenterSettings
from syndiff.synthesis.gates.settings import GatesSettings
from syndiff.synthesis.inpainters.compact_settings import CompactSettings
from syndiff.synthesis.inpainters.sdxl_settings import SdxlSettings
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.training.settings import AdaptSettings, LoraSettings, Minutes, TrainingSettings

_FOLDER = Path(__file__).parent
_REVISIONS = {
    "model.autoencoder": "model.autoencoder_revision",
    "model.denoiser_weights": "model.denoiser_weights_revision",
    "painter.autoencoder": "painter.autoencoder_revision",
    "synthesis.model": "synthesis.revision",
}
"""Settings that name weights, and those that name a revision of them."""
_PLACES = (
    *("model.autoencoder", "model.denoiser_weights", "painter.autoencoder"),
    *("synthesis.model", "synthesis.backgrounds"),
    *("gates.segmenter", "gates.text_model", "sdxl.loras"),
)
"""Settings that may name a folder."""
_SHIPPED = ("compact", "mask")
"""Autoencoders, not folders, whatever else is called so."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(Section):
    """What only the whole pipeline decides.

    Attributes:
        minutes: training time of each segmenter, the control included. The number of steps that fit is measured on
            this machine and written to plan.json. 0 takes `training.steps` instead, for each and on every machine.
        tolerance: pixels within which two surfaces agree, for the normalised surface Dice.
    """

    section = "run"

    minutes: Minutes = 0.0
    tolerance: Annotated[float, Bounds(0, 10_000, above=True)] = 2.0


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

    def recorded(self) -> dict[str, Any]:
        """`plain`, with the folders of this machine that settings name written out in full.

        So a run folder says what made it, wherever it is read.
        """
        values = self.plain()
        for place in _PLACES:
            section, name = place.split(".")
            found = values[section][name]
            values[section][name] = [in_full(each) for each in found] if isinstance(found, list) else in_full(found)
        return values


def in_full(place: str) -> str:
    """The whole path of what lies on this machine; a name on the hub, or of what is shipped, as it is."""
    path = Path(place).expanduser()
    return str(path.resolve()) if place and place not in _SHIPPED and path.exists() else place


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
            for name, value in values.items():
                merged[section][name] = _checked(origin, sections[section], name, value)
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


def _checked(origin: str, section: type[Section], name: str, value: Any) -> Any:
    if name not in (known := kinds_of(section)):
        raise SyndiffError(f"{origin}: unknown setting {section.section}.{name}{_suggest(name, known)}.")
    try:
        return section.checked(name, value, known[name])
    except SyndiffError as error:
        raise SyndiffError(f"{origin}: {error}") from None


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
