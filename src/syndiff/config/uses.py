"""Which verb uses which settings: one table. A setting that was chosen and is not used is refused, never ignored.

Beside the verb itself a situation of it, such as `train without --synthetic`, may use fewer settings.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import get_args

from syndiff.config.settings import Settings, names_of, no_effect, sections
from syndiff.errors import SyndiffError
from syndiff.models.settings import InpaintingSettings, Kind, SegmenterSettings

_SECTIONS = tuple(sections())
_CONTROLS = tuple(kind for each in get_args(Kind) for kind in (get_args(each) or (each,)) if kind != "diffusion")


@dataclass(frozen=True)
class Use:
    """The settings (section or section.name) that a verb uses: those of `only`, without those of `but`."""

    only: tuple[str, ...] = _SECTIONS
    but: tuple[str, ...] = ()

    def names(self) -> Iterator[str]:
        """Each of these settings as section.name."""
        without = set(names_of(*self.but))
        return (name for name in names_of(*self.only) if name not in without)


def without_diffusion(kind: str) -> Use:
    """What a network without diffusion uses; only the control has an encoder with weights to start from."""
    control = kind == "control"
    encoder = ("encoder", "encoder_weights", "encoder_weights_revision", "pretrained", "control_dropout")
    model = {"kind", "image_size", "inference_tta", *(encoder if control else ())}
    training = ("mask_weight", "guide_weight", "inference_share", "ema_encoder", "gradient_checkpointing")
    return Use(
        but=(
            *(f"model.{item.name}" for item in fields(SegmenterSettings) if item.name not in model),
            *(f"training.{name}" for name in (*training, *(() if control else ("backbone_lr_scale",)))),
        )
    )


_PROMPTED = ("synthesis.inpainter", "synthesis.paints", "synthesis.prompts", "synthesis.model")

USES: dict[str, Use] = {
    "run": Use(but=("lora",)),
    "run (it trains a control and segmenters)": Use(but=("model.kind",)),
    "run with an inpainter that is ready to paint": Use(but=("inpainter", "adapt")),
    "run while run.minutes is above 0": Use(but=("training.steps",)),
    "run while adapt.minutes is above 0": Use(but=("adapt.steps",)),
    "train": Use(only=("model", "training", "augmentation")),
    "train without --synthetic": Use(but=("training.real_share",)),
    **{f"train with model.kind={kind}": without_diffusion(kind) for kind in _CONTROLS},
    "adapt --inpainter compact": Use(only=(*_PROMPTED, "inpainter", "adapt")),
    "adapt --inpainter sdxl": Use(only=(*_PROMPTED, "synthesis.revision", "sdxl.variant", "lora")),
    "adapt while adapt.minutes is above 0": Use(but=("adapt.steps",)),
    "adapt --model": Use(
        but=tuple(f"inpainter.{item.name}" for item in fields(InpaintingSettings) if item.name != "crop_size")
    ),
    "synthesize": Use(only=("synthesis", "gates", "compact", "sdxl"), but=("synthesis.share",)),
    "synthesize with an inpainter of your own": Use(
        but=("compact", "sdxl", "synthesis.inpainter", "synthesis.model", "synthesis.revision")
    ),
}
"""By verb, as the command line calls it, and by situation of a verb. Studies have tables of their own."""


def check_use(settings: Settings, *verbs: str | None, uses: Mapping[str, Use] = USES) -> None:
    """Raise SyndiffError for the settings that were chosen though one of `verbs`, keys of `uses`, ignores them.

    None among `verbs` is a situation that is not there.
    """
    told, seen = [], set[str]()
    for verb in filter(None, verbs):
        used = set(uses[verb].names())
        if settings.model.encoder == "autoencoder" and "model.autoencoder" not in used:
            used.discard("model.encoder")  # nothing of the kind can be copied: see `SegmenterSettings.backbone`
        if ignored := sorted(settings.chosen - used - seen):
            told.append(f"{no_effect(ignored)} on `syndiff {verb}`")
            seen.update(ignored)
    if told:
        raise SyndiffError(f"{'; '.join(told)}; leave {'them' if len(seen) > 1 else 'it'} out.")
