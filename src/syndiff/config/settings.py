"""The tree of all settings: one section for each room that owns some."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from syndiff.bounds import Bounds, Section, kinds_of
from syndiff.data.settings import AugmentationSettings
from syndiff.errors import SyndiffError, listed
from syndiff.models.settings import InpaintingSettings, SegmenterSettings
from syndiff.synthesis.gates.settings import GatesSettings
from syndiff.synthesis.inpainters.settings import CompactSettings, SdxlSettings
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.training.settings import AdaptSettings, LoraSettings, Minutes, TrainingSettings

_PLACES = (
    *("model.encoder_weights", "model.autoencoder", "model.denoiser_weights", "inpainter.autoencoder"),
    *("synthesis.model", "synthesis.backgrounds", "synthesis.lesions"),
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
        gap_steps: steps of a quick look at the domain gap before real + synthetic is trained: one segmenter learns from
            the synthetic cases alone, one from the real ones, and both are scored on the validation cases; log and
            report say what came of it. At most as many as the training has; 0 leaves it out.
    """

    section = "run"

    minutes: Minutes = 0.0
    tolerance: Annotated[float, Bounds(0, 10_000, above=True)] = 2.0
    gap_steps: Annotated[int, Bounds(0, 100_000_000)] = 0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting, by the section that owns it; `load_settings` makes them.

    >>> syndiff.load_settings("paper").model.image_size
    256

    Raises SyndiffError for settings of two sections that do not go together.
    """

    model: SegmenterSettings = field(default_factory=SegmenterSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    synthesis: SynthesisSettings = field(default_factory=SynthesisSettings)
    gates: GatesSettings = field(default_factory=GatesSettings)
    compact: CompactSettings = field(default_factory=CompactSettings)
    sdxl: SdxlSettings = field(default_factory=SdxlSettings)
    inpainter: InpaintingSettings = field(default_factory=InpaintingSettings)
    adapt: AdaptSettings = field(default_factory=AdaptSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    run: RunSettings = field(default_factory=RunSettings)
    chosen: frozenset[str] = frozenset()
    """The settings, as section.name, that somebody chose: in a configuration file, with --set or an option."""

    def __post_init__(self) -> None:
        for section in ("compact", "sdxl"):
            names = sorted(name for name in self.chosen if name.startswith(f"{section}."))
            if names and section != self.synthesis.inpainter:
                raise SyndiffError(
                    f"{no_effect(names)} with the inpainter {self.synthesis.inpainter}; leave "
                    f"{'them' if len(names) > 1 else 'it'} out or set synthesis.inpainter to {section}."
                )
        if self.training.coarse_share and self.model.coarse_size == self.model.image_size:
            raise SyndiffError(
                f"training setting coarse_share: {self.training.coarse_share} has no effect at image_size "
                f"{self.model.image_size}, the smallest that the model can have; set training.coarse_share to 0."
            )

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


def sections() -> dict[str, type[Section]]:
    """The class that owns each section, in the tree's order."""
    hints = get_type_hints(Settings)
    return {item.name: hints[item.name] for item in fields(Settings) if item.name != "chosen"}


def names_of(*sections_or_names: str) -> Iterator[str]:
    """Every setting (section.name) of the sections named; single settings as they are."""
    for each in sections_or_names:
        yield from (each,) if "." in each else (f"{each}.{name}" for name in kinds_of(sections()[each]))


def no_effect(names: Sequence[str]) -> str:
    """The beginning of a sentence on settings that have no effect."""
    return f"settings {listed(names)} have no effect" if len(names) > 1 else f"setting {names[0]} has no effect"


def in_full(place: str) -> str:
    """The whole path of what lies on this machine; a name on the hub, or of what is shipped, as it is."""
    path = Path(place).expanduser()
    return str(path.resolve()) if place and place not in _SHIPPED and path.exists() else place
