"""What a training, an adaptation or a synthesis can be refused for, found before anything is trained or written.

Whatever settings, split and files can tell is asked here, by making what can be made cheaply: networks without weights,
the places of lesions, the model of a gate. `fetch` says whether weights of the model hub may be fetched for it.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import autoencoder_shapes, load_autoencoder
from syndiff.models.caption_encoder import check_caption_length
from syndiff.models.encoder import backbone_source
from syndiff.models.settings import InpaintingSettings, Kind
from syndiff.models.unet import UNetWeights
from syndiff.pipeline.training_plan import check_training
from syndiff.synthesis.gates.text_image import TextImage
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.inpainters.checks import check_abilities
from syndiff.synthesis.placement.places import Places
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.training.inpainting_crops import has_lesion


def check_segmenters(settings: Settings, kinds: Iterable[Kind], *, fetch: bool, targets: Targets | None = None) -> None:
    """Raise SyndiffError for a segmenter of these kinds that cannot be made or trained on this machine.

    It tells `targets` apart, by default one foreground.
    """
    for kind in dict.fromkeys(kinds):
        check_training(replace(settings.model, kind=kind), settings.training, targets)
        if fetch and kind in ("diffusion", "control"):
            backbone_source(settings.model, fetch=True)
        if kind == "diffusion":
            _check_autoencoder(settings.model.autoencoder, settings.model.autoencoder_revision, fetch=fetch)
            if fetch and settings.model.denoiser_weights:
                UNetWeights(settings.model.denoiser_weights, revision=settings.model.denoiser_weights_revision or None)


def check_adaptation(
    dataset: Dataset, split: Split, grammar: Grammar, model: InpaintingSettings, *, fetch: bool
) -> None:
    """Raise SyndiffError where a compact inpainter could not learn from these cases.

    Its captions are too long for it, no case of a side has a lesion, or its autoencoder is not there or damaged.
    """
    check_captions(dataset, split, grammar, model.caption_length)
    for side, case_ids in (("training", split.train), ("validation", split.val)):
        if not any(has_lesion(*dataset.load(dataset[case_id])) for case_id in case_ids):
            raise SyndiffError(
                f"None of the {len(case_ids)} {side} cases of {dataset.root} has a lesion; an inpainter learns from "
                "images whose masks mark some, and is judged on others."
            )
    _check_autoencoder(model.autoencoder, model.autoencoder_revision, fetch=fetch)


def check_captions(dataset: Dataset, split: Split, grammar: Grammar, length: int) -> None:
    """Raise SyndiffError when a compact inpainter of this `caption_length` could not read what it is to learn from.

    That is the longest captions of the grammar, and those that the dataset brings for training and validation cases.
    """
    own = (dataset[case_id].caption for case_id in (*split.train, *split.val))
    for caption in (*grammar.longest(measured_only=True), *own):
        check_caption_length(caption or "", length)


def check_synthesis(
    dataset: Dataset, split: Split, settings: Settings, inpainter: Inpainter | None, *, seed: int
) -> None:
    """Raise SyndiffError where nothing could be painted for this split.

    Too few cases, no folder of backgrounds or lesions in it, no place for any lesion, no model for the gate
    text_image. `inpainter` is None where a compact one is still to be taught.
    """
    if inpainter is None:
        settings.compact.check_steps(settings.inpainter.timesteps)
    if inpainter:
        check_abilities(inpainter, settings.synthesis)
    can = inpainter.capabilities if inpainter else settings.compact.capabilities(settings.adapt.margin)
    places = Places(
        dataset,
        split.train,
        settings.synthesis,
        seed=seed,
        margin=can.margin,
        at_once=can.reads_lesion_mask,
        rules=PlacementRules(),
    )
    places.check()
    if settings.gates.mode != "off" and settings.gates.text_model:
        TextImage(Path(settings.gates.text_model))


def _check_autoencoder(source: str, revision: str, *, fetch: bool) -> None:
    _, here = autoencoder_shapes(source, revision=revision or None)
    if here or fetch:
        load_autoencoder(source, revision=revision or None)
