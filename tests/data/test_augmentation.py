"""Augmentation: image and mask stay together, draws repeat, and off means off."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from syndiff.data.augmentation import Augmentation
from syndiff.data.settings import AugmentationSettings
from syndiff.errors import SyndiffError


def batch(count: int = 8, height: int = 48, width: int = 48) -> tuple[Tensor, Tensor]:
    """Dark images on which exactly the lesion is bright, and its mask."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    lesion = ((y / height - 0.45) / 0.2) ** 2 + ((x / width - 0.55) / 0.12) ** 2 <= 1
    mask = lesion.float().expand(count, 1, height, width).clone()
    image = 0.2 + 0.6 * mask * torch.tensor([1.0, 0.8, 0.7])[:, None, None]
    return image, mask


def still(**changes: object) -> AugmentationSettings:
    """Settings with everything off but `changes`."""
    off = {"flips": False, "rotation": 0.0, "scale": (1.0, 1.0), "translate": 0.0, "colour": 0.0, "hue": 0.0}
    return AugmentationSettings(**{**off, "probability": 1.0, **changes})  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    count=st.integers(1, 5),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    colour=st.floats(0, 0.9),
    hue=st.floats(0, 180),
)
def test_shapes_and_ranges_are_kept(seed: int, count: int, height: int, width: int, colour: float, hue: float) -> None:
    generator = torch.Generator().manual_seed(seed % 1000)
    image = torch.rand(count, 3, height, width, generator=generator)
    mask = (torch.rand(count, 1, height, width, generator=generator) > 0.5).float()
    new_image, new_mask = Augmentation(AugmentationSettings(colour=colour, hue=hue))(image, mask, seed=seed)
    assert new_image.shape == image.shape and new_mask.shape == mask.shape
    assert new_image.dtype == image.dtype and new_mask.dtype == mask.dtype
    assert new_image.min() >= 0 and new_image.max() <= 1
    assert set(new_mask.unique().tolist()) <= {0.0, 1.0}


def test_the_seed_decides_and_the_global_random_state_is_left_alone() -> None:
    image, mask = batch()
    augment = Augmentation()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = augment(image, mask, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = augment(image, mask, seed=7)
    other = augment(image, mask, seed=8)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_cases_of_one_batch_differ() -> None:
    image, mask = batch()
    new_image, _ = Augmentation()(image, mask, seed=0)
    assert len({tuple(case.flatten().tolist()) for case in new_image}) == len(image)


def test_the_input_is_not_written_to() -> None:
    image, mask = batch()
    kept = image.clone(), mask.clone()
    Augmentation()(image, mask, seed=0)
    assert torch.equal(image, kept[0]) and torch.equal(mask, kept[1])


def test_off_is_the_exact_identity() -> None:
    image, mask = batch()
    new_image, new_mask = Augmentation(AugmentationSettings.none())(image, mask, seed=3)
    assert torch.equal(new_image, image) and torch.equal(new_mask, mask)


def test_the_mask_follows_the_lesion() -> None:
    image, mask = batch(count=32)
    new_image, new_mask = Augmentation(AugmentationSettings(colour=0, hue=0))(image, mask, seed=5)
    bright = (new_image[:, :1] > 0.5).float()
    dice = 2 * (bright * new_mask).sum((1, 2, 3)) / (bright + new_mask).sum((1, 2, 3))
    assert dice.min() > 0.93
    assert (new_mask - mask).abs().sum() > 0


def test_flips_alone_only_mirror() -> None:
    image, mask = torch.rand(64, 3, 20, 28), torch.zeros(64, 1, 20, 28)
    mask[:, :, :7, :11] = 1
    new_image, new_mask = Augmentation(still(flips=True))(image, mask, seed=0)
    seen = set()
    for index in range(len(image)):
        for axes in ((), (-1,), (-2,), (-1, -2)):
            if torch.allclose(new_image[index], image[index].flip(axes), atol=1e-4):
                seen.add(axes)
                assert torch.equal(new_mask[index], mask[index].flip(axes))
                break
        else:
            pytest.fail(f"case {index} is not a mirror image")
    assert len(seen) == 4


def test_scale_magnifies_within_its_bounds() -> None:
    image, mask = batch(count=64, height=96, width=96)
    _, new_mask = Augmentation(still(scale=(0.5, 2.0)))(image, mask, seed=0)
    area = (new_mask.sum((1, 2, 3)) / mask.sum((1, 2, 3))).sqrt()
    assert 0.48 < area.min() < 0.65 and 1.6 < area.max() < 2.05


def test_translation_stays_within_its_bound_and_uncovers_black() -> None:
    image, mask = batch(count=64)
    new_image, new_mask = Augmentation(still(translate=0.25))(torch.ones_like(image), mask, seed=0)
    columns = torch.arange(48.0)
    moved = ((new_mask.sum((1, 2)) * columns).sum(1) - (mask.sum((1, 2)) * columns).sum(1)) / mask.sum((1, 2, 3))
    assert 8 < moved.abs().max() <= 12.5
    assert new_image[:, :, 24, 24].min() > 0.999
    assert new_image.amin((1, 2, 3)).max() == 0


def test_rotation_keeps_area() -> None:
    image, mask = batch(count=32, height=96, width=96)
    _, new_mask = Augmentation(still(rotation=180.0))(image, mask, seed=0)
    torch.testing.assert_close(new_mask.sum((1, 2, 3)), mask.sum((1, 2, 3)), rtol=0.03, atol=0)
    assert not torch.equal(new_mask, mask)


def test_hue_keeps_greys_and_lightness() -> None:
    grey = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(4, 3, 8, 8)
    mask = torch.zeros(4, 1, 8, 8)
    turned, _ = Augmentation(still(hue=180.0))(grey, mask, seed=0)
    torch.testing.assert_close(turned, grey, atol=2e-3, rtol=0)
    coloured = 0.4 + 0.2 * torch.rand(4, 3, 8, 8)
    turned, _ = Augmentation(still(hue=60.0))(coloured, mask, seed=0)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((turned * luma).sum(1), (coloured * luma).sum(1), atol=2e-3, rtol=0)
    assert (turned - coloured).abs().max() > 0.02


def test_colour_changes_the_image_but_never_the_mask() -> None:
    image, mask = batch()
    new_image, new_mask = Augmentation(still(colour=0.4))(image, mask, seed=0)
    assert torch.equal(new_mask, mask)
    assert ((new_image - image).abs().amax((1, 2, 3)) > 0.01).all()


def test_probability_leaves_some_cases_untouched() -> None:
    image, mask = batch(count=200)
    half = AugmentationSettings(flips=False, colour=0, hue=0, probability=0.5)
    new_image, _ = Augmentation(half)(image, mask, seed=0)
    untouched = ((new_image - image).abs().amax((1, 2, 3)) < 1e-4).float().mean()
    assert 0.35 < untouched < 0.65


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation", 200.0),
        ("scale", (1.2, 0.8)),
        ("scale", (0.0, 1.0)),
        ("translate", -0.1),
        ("colour", 1.0),
        ("hue", -1.0),
        ("probability", 0.0),
    ],
)
def test_a_setting_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(SyndiffError, match=f"augmentation.{name} is .*expected "):
        AugmentationSettings(**{name: value})  # type: ignore[arg-type]
