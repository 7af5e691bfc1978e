"""Zooming into training cases: image and mask together, with the detail of the finer copy, and off means off."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.settings import AugmentationSettings
from syndiff.data.zoom import draw_cases
from syndiff.errors import SyndiffError

ZOOM = AugmentationSettings(zoom=3.0, zoom_share=1.0)


def discs(count: int, size: int, *, empty: bool = False) -> CaseArrays:
    """Cases with a bright disc on a dark ground, where the mask is; in `fine` they are the same, twice as large."""

    def at(side: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows, columns = np.mgrid[:side, :side] + 0.5
        rng = np.random.default_rng(0)
        masks = np.zeros((count, 1, side, side), np.uint8)
        for mask in masks:
            row, column, radius = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.06, 0.12)
            mask[0] = ((rows / side - row) ** 2 + (columns / side - column) ** 2 < radius**2) & (not empty)
        masks = torch.from_numpy(masks)
        return 40 + 180 * masks.expand(-1, 3, -1, -1), masks

    ids, source = tuple(map(str, range(count))), torch.zeros(count, dtype=torch.int64)
    return CaseArrays(ids, *at(size), source, fine=CaseArrays(ids, *at(2 * size), source))


def test_the_mask_follows_the_image_and_lesions_grow() -> None:
    cases, every = discs(24, 64), torch.arange(24)
    images, masks = draw_cases(cases, every, ZOOM, seed=3)
    assert images.shape == (24, 3, 64, 64) and masks.shape == (24, 1, 64, 64)
    assert images.min() >= 0 and images.max() <= 1 and set(masks.unique().tolist()) <= {0.0, 1.0}
    bright = (images[:, :1] > 0.5).float()
    assert (2 * (bright * masks).sum() / (bright + masks).sum()).item() > 0.99
    growth = masks.sum((1, 2, 3)) / cases.masks.float().sum((1, 2, 3))
    # Most crops are drawn around a lesion and show all of it, up to nine times as large.
    assert growth.median() > 3 and growth.max() < 10 and (growth > 1).float().mean() > 0.7


def test_a_crop_has_the_detail_of_the_finer_copy() -> None:
    cases = discs(1, 32)
    assert cases.fine is not None
    stripes = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    coarse = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    fine = CaseArrays(("0",), stripes, cases.fine.masks, cases.source)
    striped = CaseArrays(("0",), coarse, cases.masks, cases.source, fine=fine)
    image, _ = draw_cases(striped, torch.tensor([0]), ZOOM, seed=0)
    assert image.std() > 0.15  # of the coarse copy, whose stripes are a plain grey, it would be 0


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    cases, every = discs(6, 32), torch.arange(6)
    before = torch.get_rng_state()
    first, again, other = (draw_cases(cases, every, ZOOM, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    shares = [draw_cases(cases, every[own::2], ZOOM, seed=1, process=own, processes=2) for own in (0, 1)]
    assert all(torch.equal(share[0], first[0][own::2]) for own, share in enumerate(shares)), "as one process draws"


def test_off_is_the_case_itself_and_a_share_leaves_the_others_whole() -> None:
    cases, every = discs(40, 32), torch.arange(40)
    images, masks = draw_cases(cases, every, AugmentationSettings(), seed=1)
    assert torch.equal(images, cases.images.float() / 255) and torch.equal(masks, cases.masks.float())
    some, _ = draw_cases(cases, every, AugmentationSettings(zoom=2.0, zoom_share=0.5), seed=1)
    whole = (some == images).flatten(1).all(1).float().mean()
    assert 0.25 < whole < 0.75


def test_a_case_without_a_lesion_is_zoomed_into_anywhere() -> None:
    cases = discs(4, 32, empty=True)
    images, masks = draw_cases(cases, torch.arange(4), ZOOM, seed=0)
    assert masks.sum() == 0 and images.shape == (4, 3, 32, 32)


def test_cases_are_kept_finer_only_where_that_is_asked_for(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images/a.png")
    Image.fromarray((pixels[..., 0] > 128).astype(np.uint8) * 255).save(tmp_path / "masks/a.png")
    dataset = Dataset.open(tmp_path)
    plain, detailed, large = (
        load_cases([(dataset, ["a"])], size, detail=detail) for size, detail in ((32, 1), (32, 2), (64, 1))
    )
    assert plain.fine is None and detailed.fine is not None
    assert torch.equal(plain.images, detailed.images) and torch.equal(plain.masks, detailed.masks)
    assert torch.equal(detailed.fine.images, large.images) and torch.equal(detailed.fine.masks, large.masks)
    assert AugmentationSettings().detail == 1 and ZOOM.detail == 2


def test_a_share_without_zoom_is_refused() -> None:
    with pytest.raises(SyndiffError, match=r"augmentation.zoom_share is 0.3 and has no effect with zoom 1"):
        AugmentationSettings(zoom_share=0.3)
