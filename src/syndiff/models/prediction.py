"""A trained segmenter at work: weights and their description to a mask at the size of the image."""

import hashlib
import json
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
from syndiff.errors import SyndiffError, shown
from syndiff.models.folding import fold_batch_norms
from syndiff.models.hardware import channels_last, default_device
from syndiff.models.network import SegmentationNetwork
from syndiff.models.predictor import Prediction, StageClock
from syndiff.models.segmenter import initialise, without_initial_weights
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import DESCRIPTION, load_weights, read_description, settings_of
from syndiff.models.tta import make_views, undo_views


def case_seed(seed: int, case_id: str) -> int:
    """The seed of everything random about one case."""
    digest = hashlib.sha256(f"{seed}:{case_id}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def case_noise(shape: tuple[int, int, int], *, seed: int, case_id: str, count: int = 1) -> Tensor:
    """Gaussian noise (count, c, h, w) of (seed, case): the same whatever batch or order it is drawn in."""
    generator = torch.Generator().manual_seed(case_seed(seed, case_id))
    return torch.randn(count, *shape, generator=generator)


_POSTPROCESSING = {"restore": "bilinear", "threshold": 0.5}


def model_description(
    settings: SegmenterSettings, model: SegmentationNetwork, *, step: int, val_dice: float | None
) -> dict[str, Any]:
    """The JSON beside the weights: all that rebuilds the model and its pre- and post-processing."""
    return {
        "format": 1,
        "syndiff": __version__,
        "model": json.loads(json.dumps(asdict(settings))),  # as it will be read again: tuples become lists
        "preprocessing": {"resize": "stretch", "size": settings.image_size, "range": [0, 1]},
        "postprocessing": _POSTPROCESSING,
        "step": step,
        "val_dice": val_dice,
        "parameters": sum(value.numel() for value in model.parameters() if value.requires_grad),
        **model.description(),
    }


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
    settings = replace(
        settings,
        inference_timestep=settings.inference_timestep if timestep is None else timestep,
        inference_steps=settings.inference_steps if steps is None else steps,
        inference_tta=settings.inference_tta if tta is None else tta,
    )
    model = initialise(without_initial_weights(settings), 0)
    model.take_description(checkpoint, described)
    load_weights(model, checkpoint, described)
    return model.eval(), described


class SegmenterPredictor:
    """`Predictor` of a trained segmenter: resize, segment, back to the image's own size."""

    def __init__(
        self,
        model: SegmentationNetwork,
        image_size: int,
        *,
        name: str,
        seed: int = 0,
        tta: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or default_device()
        self.model = channels_last(fold_batch_norms(model)).to(self.device)
        self.image_size, self.name, self.seed, self.tta = image_size, name, seed, tta

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
    ) -> "SegmenterPredictor":
        """The predictor of a checkpoint folder."""
        model, described = load_segmenter(checkpoint, timestep=timestep, steps=steps, tta=tta)
        stored = described["model"]
        return cls(model, stored["image_size"], name=name, seed=seed, tta=tta or stored["inference_tta"])

    @torch.inference_mode()
    def predict(self, image: NDArray, *, case_id: str = "") -> Prediction:
        """Segment one image, HxWx3 uint8 or uint16 of any size; the noise is seeded by (seed, case_id).

        Raises SyndiffError for an array of another shape or type, and where the network computes no finite numbers.
        """
        check_image(image)
        clock = StageClock(self.device)
        # 1. To the model's square, in [0, 1], and the noise it begins with.
        with clock.stage("preprocess"):
            batch, noise = self._square(image, self.tta), self._noise(case_id, self.tta)
        # 2. The network, in the stages the timing table shows.
        logits = self.model.predict(batch, noise, clock.stage)
        # 3. Back to the image's own size; the threshold comes last.
        with clock.stage("postprocess"):
            self._check(logits, case_id)
            small = undo_views(logits.float().sigmoid()).mean(0)[0].cpu().numpy()
            probability = restore_probability(small, *image.shape[:2])
            mask = probability > np.float32(0.5)
        return Prediction(mask=mask, probability=probability, seconds=clock.seconds)

    @torch.inference_mode()
    def members(self, image: NDArray, *, case_id: str, draws: int, tta: int) -> NDArray[np.float32]:
        """Several answers for one image (HxWx3): probabilities (draws * tta, H, W), every draw in every view.

        A draw is what the network `draws`: a noise, the first that of `predict`, or a dropout mask, where a single draw
        is the answer without dropout. All are those of (seed, case_id).
        """
        noises = self._noise(case_id, draws * tta).split(tta)
        answers = self.model.members(self._square(image, tta), noises, seed=case_seed(self.seed, case_id))
        for logits in answers:
            self._check(logits, case_id)
        probabilities = torch.cat([undo_views(logits.float().sigmoid()) for logits in answers])[:, 0]
        return np.stack([restore_probability(one.cpu().numpy(), *image.shape[:2]) for one in probabilities])

    def _square(self, image: NDArray, tta: int) -> Tensor:
        """The image's views (tta, 3, size, size) in [0, 1] on the device."""
        square = torch.from_numpy(resize_image(image, self.image_size)).to(self.device)
        batch = make_views(square.permute(2, 0, 1)[None].float().div_(255), tta)
        return batch.contiguous(memory_format=torch.channels_last)

    def _noise(self, case_id: str, count: int) -> Tensor:
        shape = self.model.noise_shape(self.image_size, self.image_size)
        return case_noise(shape, seed=self.seed, case_id=case_id, count=count).to(self.device)

    def _check(self, logits: Tensor, case_id: str) -> None:
        """A network that has gone wrong must not look like an image without a lesion."""
        check_answer(f"{self.name} does not answer for {case_id}", logits)


def check_image(image: NDArray) -> None:
    """Raise SyndiffError unless `image` is HxWx3 in uint8 or uint16."""
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype not in (np.uint8, np.uint16):
        raise SyndiffError(
            f"The image is an array of shape {image.shape} and type {image.dtype}; expected height x width x 3 in "
            "uint8 or uint16. Repeat a grey image three times, and scale values from 0 to 1 by 255."
        )


def check_answer(what: str, logits: Tensor) -> None:
    """Raise SyndiffError, beginning with `what`, where `logits` are no finite numbers."""
    if not torch.isfinite(logits).all():
        raise SyndiffError(
            f"{what}: the network computed values that are no finite numbers. Its weights are unfit for this image or "
            "number format; restore them or train again."
        )


@torch.inference_mode()
def mean_dice(model: SegmentationNetwork, cases: CaseArrays, *, batch_size: int, seed: int = 0) -> float:
    """Mean per-case Dice at the model's resolution: the figure that selects a checkpoint on validation cases.

    An empty prediction of an empty mask counts 1. Leaves the model in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    scores = []
    for start in range(0, len(cases), batch_size):
        part = slice(start, start + batch_size)
        image = cases.images[part].to(device).float().div_(255).contiguous(memory_format=torch.channels_last)
        shape = model.noise_shape(*image.shape[-2:])
        noise = torch.cat([case_noise(shape, seed=seed, case_id=case_id) for case_id in cases.ids[part]])
        logits = model(image, noise.to(device))
        check_answer(f"No score for the validation cases from {cases.ids[start]} on", logits)
        predicted, target = logits > 0, cases.masks[part].to(device).bool()
        shared = (predicted & target).sum((1, 2, 3)).cpu().double()
        total = (predicted.sum((1, 2, 3)) + target.sum((1, 2, 3))).cpu().double()
        scores.append(torch.where(total > 0, 2 * shared / total.clamp(min=1), torch.ones_like(total)))
    return torch.cat(scores).mean().item()
