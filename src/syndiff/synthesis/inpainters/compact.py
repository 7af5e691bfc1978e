"""The compact inpainter at work: a crop around the lesion, painted in latent space, put back where it was."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from syndiff.data.boxes import Box, crop_box
from syndiff.data.crops import cut, paste
from syndiff.data.readers import to_unit
from syndiff.data.seen import Seen
from syndiff.documents import check_object
from syndiff.errors import SyndiffError
from syndiff.files import sha256
from syndiff.models.hardware import default_device
from syndiff.models.inpainter import InpaintingModel, load_inpainter
from syndiff.models.stored import DESCRIPTION, learned_from, read_description
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.settings import CompactSettings
from syndiff.synthesis.inpainters.strength import paint_by_way, with_donor


class Compact:
    """`Inpainter` of a checkpoint that `syndiff adapt` made.

    A sample's noise comes from its own seed, so it is the same (up to rounding) in any batch.

    Raises SyndiffError for a folder that holds no inpainter.
    """

    name = "compact"

    def __init__(self, checkpoint: Path, settings: CompactSettings | None = None) -> None:
        self.checkpoint, self.settings = checkpoint, settings or CompactSettings()
        described = read_description(checkpoint, {})
        if not isinstance(described.get("painting"), dict):
            raise SyndiffError(
                f"{checkpoint} holds no compact inpainter (its model.json has no section `painting`); give a run "
                "folder of `syndiff adapt`."
            )
        origin, kinds = f"{checkpoint / DESCRIPTION}: painting", {"margin": float, "context": float}
        painting = check_object(origin, described["painting"], kinds)
        self.context = float(painting["context"])
        self.capabilities = self.settings.capabilities(float(painting["margin"]))
        self._learned = learned_from(checkpoint, described)

    @property
    def seen(self) -> Seen:
        """What its run folder tells."""
        return Seen.read(self.checkpoint.resolve().parent.parent) or Seen()

    def describe(self) -> dict[str, Any]:
        """Name the weights by their hash: the folder may be moved."""
        return {
            "name": self.name,
            "model": "compact inpainter",
            "revision": None,
            "hash": sha256(self.checkpoint / "model.safetensors"),
            "learned_from": sorted(_datasets(self._learned)),
            "settings": {
                **asdict(self.settings),
                "margin": self.capabilities.margin,
                "context": self.context,
                "device": default_device().type,
                "architecture": asdict(self._model.settings),
            },
        }

    def check_prompt(self, text: str) -> None:
        """Raise SyndiffError for a prompt with words that the model never learned, or too long for it."""
        self._model.captions.tokens([text])

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """Paint all requests, lesions and removals a batch each, each with its own noise; frames come back whole."""

        def way_of(request: InpaintRequest) -> tuple[float, bool]:
            # what remains of a lesion that is to be painted over would still be one
            return (self.settings.strength, self.settings.detail == "real") if request.lesion.any() else (1.0, False)

        return paint_by_way(requests, way_of, self._paint)

    def _paint(self, requests: Sequence[InpaintRequest], way: tuple[float, bool]) -> list[NDArray[np.float32]]:
        strength, real_detail = way
        model, size = self._model, self._model.settings.crop_size
        frames = [to_unit(request.image) for request in requests]
        windows = [self._window(request) for request in requests]
        image = torch.stack([cut(frame, window, size) for frame, window in zip(frames, windows, strict=True)])
        lesion, hidden = (
            torch.stack([(cut(mask, window, size) >= 0.5).float() for mask, window in zip(masks, windows, strict=True)])
            for masks in ([r.lesion for r in requests], [r.mask for r in requests])
        )
        noise = torch.stack(
            # drawn on the CPU: a sample's noise is the same on any device
            [torch.randn(model.noise_shape(), generator=torch.Generator().manual_seed(r.seed)) for r in requests]
        )
        device = default_device()
        begun = None
        if strength < 1 or real_detail:
            donors = [cut(with_donor(r), window, size) for r, window in zip(requests, windows, strict=True)]
            begun = torch.stack(donors).to(device)
        painted = model.paint(
            image.to(device),
            lesion.to(device),
            hidden.to(device),
            [request.prompt for request in requests],
            self.settings.temperature * noise.to(device),
            steps=self.settings.steps,
            guidance_scale=self.settings.guidance_scale,
            begun_bchw=begun,
            strength=strength,
            real_detail=real_detail,
        ).cpu()
        painted = match_surroundings(painted, image, hidden)
        return [paste(frame, picture, window) for frame, picture, window in zip(frames, painted, windows, strict=True)]

    def _window(self, request: InpaintRequest) -> Box:
        """What the model sees: the lesion's surroundings, or more where what it paints reaches beyond them."""
        lesion, mask = request.lesion, request.mask
        window = crop_box(lesion if lesion.any() else mask, self.context, 24)
        if mask[window.slices].sum() < mask.sum():
            window = crop_box(mask, self.context, 24)
        return window

    @cached_property
    def _model(self) -> InpaintingModel:
        model = load_inpainter(self.checkpoint).to(default_device())
        self.settings.check_steps(model.schedule.timesteps)
        return model


def match_surroundings(painted: Tensor, source: Tensor, hidden_b1hw: Tensor, reach: float = 1 / 16) -> Tensor:
    """Shift the colours of `painted` (b, 3, s, s) so that they meet `source` along the hidden region (b, 1, s, s).

    The difference between the two where nothing is hidden, which is what the autoencoder got wrong, is carried
    smoothly into the hidden region; `reach` is the width of the smoothing as a share of the side. Both in [0, 1].
    """
    visible = 1 - hidden_b1hw
    known = torch.cat([(source - painted) * visible, visible], 1)
    spread = _blur(known, reach * painted.shape[-1])
    offset = spread[:, :3] / spread[:, 3:].clamp(min=1e-3)
    return (painted + offset).clamp(0, 1)


def _blur(image_bchw: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, separable, the edge repeated."""
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=image_bchw.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(image_bchw.shape[1], 1, -1)
    channels = image_bchw.shape[1]
    rows = F.pad(image_bchw, (radius, radius, 0, 0), mode="replicate")
    rows = F.conv2d(rows, kernel[:, :, None, :], groups=channels)
    columns = F.pad(rows, (0, 0, radius, radius), mode="replicate")
    return F.conv2d(columns, kernel[:, :, :, None], groups=channels)


def _datasets(learned: Mapping[str, Any]) -> set[str]:
    """The datasets that an inpainter's model.json names as learned from, its starts' and its rated samples' too."""
    names = {str(learned[key]) for key in ("dataset", "name") if key in learned}
    names |= set(learned.get("reviews", {}).get("learned_elsewhere", ()))
    return names | (_datasets(learned["start"]["learned_from"]) if "start" in learned else set())
