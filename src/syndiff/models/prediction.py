"""A trained segmenter at work on torch: weights and their description to a mask at the size of the image."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syndiff import __version__
from syndiff.data.loading import CaseArrays
from syndiff.data.resize import resize_image, restore_probability
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError, shown
from syndiff.models.calibration import inference_settings, wide_thresholds
from syndiff.models.folding import fold_batch_norms
from syndiff.models.hardware import channels_last, default_device
from syndiff.models.network import SegmentationNetwork, decided, probabilities
from syndiff.models.noise import case_noise, case_seed
from syndiff.models.predictor import Answer, SquarePredictor, StageClock, check_answer
from syndiff.models.segmenter import initialise, without_initial_weights
from syndiff.models.settings import Refine, SegmenterSettings
from syndiff.models.stored import DESCRIPTION, load_weights, read_description, settings_of
from syndiff.models.tta import make_views, undo_views

_POSTPROCESSING = {"restore": "bilinear", "threshold": 0.5}


def model_description(
    settings: SegmenterSettings, model: SegmentationNetwork, *, step: int, val_dice: float | None
) -> dict[str, Any]:
    """The JSON beside the weights: all that rebuilds the model and its pre- and post-processing.

    `Targets.described` is part of it: nothing for a single foreground.
    """
    return {
        "format": 1,
        "syndiff": __version__,
        "model": json.loads(json.dumps(asdict(settings))),  # as it will be read again: tuples become lists
        "preprocessing": {"resize": "stretch", "size": settings.image_size, "range": [0, 1]},
        "postprocessing": _POSTPROCESSING,
        "step": step,
        "val_dice": val_dice,
        "parameters": sum(value.numel() for value in model.parameters() if value.requires_grad),
        **model.targets.described(),
        **model.description(),
    }


def chosen_settings(
    settings: SegmenterSettings, *, timestep: int | None, steps: int | None, tta: int | None
) -> SegmenterSettings:
    """The settings with what was chosen for inference in place of the model's own."""
    return replace(
        settings,
        inference_timestep=settings.inference_timestep if timestep is None else timestep,
        inference_steps=settings.inference_steps if steps is None else steps,
        inference_tta=settings.inference_tta if tta is None else tta,
    )


def load_segmenter(
    checkpoint: Path, *, timestep: int | None = None, steps: int | None = None, tta: int | None = None
) -> tuple[SegmentationNetwork, dict[str, Any]]:
    """The network of a checkpoint folder and its description (model.json).

    `timestep` and `steps` replace the stored inference settings of a diffusion segmenter, `tta` those of any.
    """
    described = read_description(checkpoint, {"model": dict, "preprocessing": dict, "postprocessing": dict})
    settings = settings_of(checkpoint, described, SegmenterSettings, what="a segmenter")
    if described["preprocessing"].get("size") != settings.image_size:
        raise SyndiffError(
            f"{checkpoint / DESCRIPTION}: preprocessing.size is {shown(described['preprocessing'].get('size'))}, but "
            f"model.image_size {settings.image_size}; they are one. Restore the file."
        )
    if described["postprocessing"] != _POSTPROCESSING:
        raise SyndiffError(
            f"{checkpoint / DESCRIPTION}: postprocessing is {shown(described['postprocessing'])}, but this version "
            f"applies {_POSTPROCESSING}. Restore the file."
        )
    if settings.kind != "diffusion" and (timestep is not None or steps is not None):
        raise SyndiffError(f"{checkpoint}: a {settings.kind} has no timesteps; leave out --timestep and --steps.")
    settings = chosen_settings(settings, timestep=timestep, steps=steps, tta=tta)
    targets = Targets.of(described, checkpoint / DESCRIPTION)
    model = initialise(without_initial_weights(settings), 0, targets)
    model.take_description(checkpoint, described)
    load_weights(model, checkpoint, described)
    return model.eval(), described


class TorchEngine:
    """`Engine` on torch: a GPU where there is one, else the CPU."""

    name = "torch"

    def __init__(self, model: SegmentationNetwork, image_size: int, *, device: torch.device | None = None) -> None:
        self.device = device or default_device()
        self.model = channels_last(fold_batch_norms(model)).to(self.device)
        self.noise_shape, self.targets = self.model.noise_shape(image_size, image_size), model.targets

    def clock(self) -> StageClock:
        """A clock that waits for the kernels of this device."""
        return StageClock(self.device)

    @torch.inference_mode()
    def segment(
        self, image_bhwc: NDArray[np.uint8], latent_bchw: NDArray[np.float32], timestep: int | None, clock: StageClock
    ) -> Answer:
        """Answers in the stages of the network. Raises SyndiffError for a `timestep` that the network cannot take."""
        with clock.stage("preprocess"):
            image, latent = self.to_unit(image_bhwc), self.to_device(latent_bchw)
            timestep_b = None if timestep is None else torch.full((len(image),), timestep, device=self.device)
        logits, clean = self.model.answer(image, latent, clock.stage, timestep_b)
        with clock.stage("postprocess"):
            answer = probabilities(logits.float(), self.targets)
            return Answer(answer.cpu().numpy(), clean.float().cpu().numpy())

    def to_unit(self, image_bhwc: NDArray[np.uint8]) -> Tensor:
        """Images (b, 3, h, w) in [0, 1] on the device, channels last."""
        batch = torch.from_numpy(image_bhwc).to(self.device).permute(0, 3, 1, 2)
        return batch.float().div_(255).contiguous(memory_format=torch.channels_last)

    def to_device(self, values: NDArray[np.float32]) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(values).to(self.device)


class SegmenterPredictor(SquarePredictor):
    """`Predictor` of a trained segmenter on torch; it also gives several answers for one image."""

    engine: TorchEngine

    def __init__(
        self,
        model: SegmentationNetwork,
        image_size: int,
        *,
        name: str,
        seed: int = 0,
        tta: int = 1,
        device: torch.device | None = None,
        wide_thresholds: Sequence[float | None] = (),
        refine: Refine = "none",
    ) -> None:
        engine = TorchEngine(model, image_size, device=device)
        super().__init__(
            engine, image_size, name=name, seed=seed, tta=tta, wide_thresholds=wide_thresholds, refine=refine
        )
        self.model = engine.model

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        *,
        name: str,
        seed: int = 0,
        timestep: int | None = None,
        steps: int | None = None,
        tta: int | None = None,
        refine: Refine = "none",
    ) -> "SegmenterPredictor":
        """The predictor of a checkpoint folder, with the wide contour of one that was calibrated for these settings."""
        model, described = load_segmenter(checkpoint, timestep=timestep, steps=steps, tta=tta)
        inference = inference_settings(described["model"], timestep=timestep, steps=steps, tta=tta)
        return cls(
            model,
            described["model"]["image_size"],
            name=name,
            seed=seed,
            tta=inference["tta"] or 1,
            wide_thresholds=wide_thresholds(
                described,
                checkpoint / DESCRIPTION,
                model.targets,
                weights=described.get("sha256"),
                inference=inference,
                refined=refine != "none",
            ),
            refine=refine,
        )

    @torch.inference_mode()
    def members(self, image: NDArray, *, case_id: str, draws: int, tta: int) -> NDArray[np.float32]:
        """Several answers for one image (HxWx3): probabilities (draws * tta, H, W), every draw in every view.

        A draw is what the network `draws`: a noise, the first that of `predict`, or a dropout mask, where a single draw
        is the answer without dropout. All are those of (seed, case_id). Raises SyndiffError for several classes, and
        where there is a second look.
        """
        if self.refine != "none":
            raise SyndiffError(f"Several answers of {self.name} are those of a first look; load it with refine none.")
        self.engine.targets.refuse_several(
            f"Several answers of {self.name}", "Only one answer of such a model is known: `predict`."
        )
        views = self.engine.to_unit(make_views(resize_image(image, self.image_size), tta))
        noises = self.engine.to_device(self._noise(case_id, draws * tta)).split(tta)
        answers = self.model.members(views, noises, seed=case_seed(self.seed, case_id))
        probabilities = [logits.float().sigmoid()[:, 0].cpu().numpy() for logits in answers]
        for probability in probabilities:
            check_answer(f"{self.name} does not answer for {case_id}", probability)
        upright = np.concatenate([undo_views(probability) for probability in probabilities])
        return np.stack([restore_probability(one, *image.shape[:2]) for one in upright])


@torch.inference_mode()
def mean_dice(model: SegmentationNetwork, cases: CaseArrays, *, batch_size: int, seed: int = 0) -> float:
    """Mean per-case Dice at the model's resolution: the figure that selects a checkpoint on validation cases.

    Of several classes a case has the mean of theirs. An empty prediction of an empty mask counts 1. Leaves the model in
    evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    scores = []
    for start in range(0, len(cases), batch_size):
        part = slice(start, start + batch_size)
        image = cases.images[part].to(device).float().div_(255).contiguous(memory_format=torch.channels_last)
        shape = model.noise_shape(*image.shape[-2:])
        noise = np.concatenate([case_noise(shape, seed=seed, case_id=case_id) for case_id in cases.ids[part]])
        logits = model(image, torch.from_numpy(noise).to(device))
        check_answer(f"No score for the validation cases from {cases.ids[start]} on", logits.float().cpu().numpy())
        predicted, target = decided(logits, model.targets), cases.masks[part].to(device).bool()
        shared = (predicted & target).sum((2, 3)).cpu().double()
        total = (predicted.sum((2, 3)) + target.sum((2, 3))).cpu().double()
        scores.append(torch.where(total > 0, 2 * shared / total.clamp(min=1), torch.ones_like(total)).mean(1))
    return torch.cat(scores).mean().item()
