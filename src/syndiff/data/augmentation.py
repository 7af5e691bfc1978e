"""Joint augmentation of images and masks: one affine warp and one linear change of colour per case.

Every geometric change is a 2x3 matrix and every colour change here is a 3x3 matrix with an offset, so a case
is resampled once and recoloured once whatever is switched on; on a CPU this costs a small part of a
training step. Colours change before the warp: what enters from outside the image stays black, as around an
endoscope's field of view.
"""

import math

import torch
from kornia.geometry.transform import get_affine_matrix2d, warp_affine
from torch import Tensor, nn

from syndiff.data.settings import AugmentationSettings


class Augmentation(nn.Module):
    """Changes a batch at random, images and masks alike; the same seed makes the same change."""

    def __init__(self, settings: AugmentationSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or AugmentationSettings()

    def forward(
        self, image_b3hw: Tensor, mask_bkhw: Tensor, *, seed: int, process: int = 0, processes: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch of float images in [0, 1] with float masks in {0, 1}; shapes and ranges are kept.

        Masks of classes that exclude each other (k > 1) still do so afterwards.

        All draws come from a CPU generator of `seed`: torch's global random state is neither read nor
        changed, and every device sees the same numbers. Where several processes share a batch, the cases are every
        `processes`-th from `process` on, and each changes as it would in one process. With everything switched off the
        very input is returned.
        """
        draws = _Draws(seed, len(image_b3hw), process, processes)
        if self.settings.recolours:
            image_b3hw = self._recolour(image_b3hw, draws)
        if self.settings.flips or self.settings.moves:
            matrix_b23 = self._draw_matrix(image_b3hw.shape, draws).to(image_b3hw)
            # Warped together, so image and mask cannot part; the mask then becomes binary again.
            both = torch.cat([image_b3hw, mask_bkhw.to(image_b3hw)], dim=1)
            size = (both.shape[2], both.shape[3])
            both = warp_affine(both, matrix_b23, size, mode="bilinear", padding_mode="zeros")
            image_b3hw = both[:, :3].clamp(0, 1)
            mask_bkhw = (both[:, 3:] > 0.5).to(mask_bkhw)
        return image_b3hw, mask_bkhw

    def _draw_matrix(self, shape: torch.Size, draws: "_Draws") -> Tensor:
        """Draw one matrix (b, 2, 3) per case, from input pixels to output pixels."""
        batch, _, height, width = shape
        chosen = draws.coin(self.settings.probability)
        angle = draws.symmetric(self.settings.rotation) * chosen
        low, high = (math.log(bound) for bound in self.settings.scale)
        zoom = torch.exp((low + (high - low) * draws.uniform()) * chosen)
        shift = torch.stack([draws.symmetric(self.settings.translate) * chosen for _ in range(2)], 1)
        mirror = torch.ones(batch, 2)
        if self.settings.flips:
            mirror -= 2 * torch.stack([draws.coin(0.5) for _ in range(2)], 1)
        sides = torch.tensor([width, height], dtype=torch.float32)
        centre = ((sides - 1) / 2).expand(batch, 2)
        # A negative magnification along an axis is a mirror: flips ride along in the same matrix.
        return get_affine_matrix2d(shift * sides, centre, zoom[:, None] * mirror, angle)[:, :2]

    def _recolour(self, image_b3hw: Tensor, draws: "_Draws") -> Tensor:
        """Apply one drawn linear map of RGB per case; the mean grey is the fixed point of the contrast."""
        chosen = draws.coin(self.settings.probability)
        brightness, contrast, saturation = (
            (1 + draws.symmetric(self.settings.colour) * chosen)[:, None, None] for _ in range(3)
        )
        hue = torch.deg2rad(draws.symmetric(self.settings.hue) * chosen)
        matrix_b33 = saturation * _hue_rotation(hue) + (1 - saturation) * _GREY
        matrix_b33 = (brightness * contrast * matrix_b33).to(image_b3hw)
        grey_b11 = (_GREY[0].to(image_b3hw) @ image_b3hw.flatten(2).mean(2).T)[:, None, None]
        offset_b11 = (brightness * (1 - contrast)).to(image_b3hw) * grey_b11
        recoloured = torch.baddbmm(offset_b11, matrix_b33, image_b3hw.flatten(2))
        return recoloured.view_as(image_b3hw).clamp(0, 1)


_GREY = torch.tensor([[0.299, 0.587, 0.114]]).expand(3, 3)
"""Maps RGB to its luma (Rec. 601), three times."""

_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""RGB to luma and two chroma axes; a rotation of the chroma plane is a rotation of the hue."""


def _hue_rotation(angle_b: Tensor) -> Tensor:
    """Make the RGB matrices (b, 3, 3) that turn the hue by `angle_b` radians and keep luma and greys."""
    turn = torch.zeros(len(angle_b), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = torch.cos(angle_b)
    turn[:, 2, 1] = torch.sin(angle_b)
    turn[:, 1, 2] = -turn[:, 2, 1]
    return torch.linalg.inv(_YIQ) @ turn @ _YIQ


class _Draws:
    """Numbers for each case of this process, out of those that are drawn for the whole batch."""

    def __init__(self, seed: int, count: int, process: int, processes: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.whole, self.own = count * processes, slice(process, None, processes)

    def uniform(self) -> Tensor:
        """From [0, 1)."""
        return torch.rand(self.whole, generator=self.generator)[self.own]

    def symmetric(self, bound: float) -> Tensor:
        """From [-bound, bound)."""
        return (2 * self.uniform() - 1) * bound

    def coin(self, probability: float) -> Tensor:
        """Ones (with `probability`) and zeros."""
        return (self.uniform() < probability).float()
