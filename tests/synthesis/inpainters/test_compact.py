"""The compact inpainter at work: whose noise a sample gets, and what becomes of the frame around it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from syndiff.data.boxes import crop_box
from syndiff.data.readers import to_unit
from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.models.inpainter import initialise_inpainter
from syndiff.models.settings import InpaintingSettings
from syndiff.models.tensors import trainable_state, write_tensors
from syndiff.synthesis.inpainters import compact as module
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.compact import Compact, match_surroundings
from syndiff.synthesis.inpainters.settings import CompactSettings
from syndiff.synthesis.inpainters.strength import with_donor


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Compact:
    """A network of random weights whose every part has an effect: diffusers starts some at zero."""
    settings = InpaintingSettings(crop_size=64, channels=(32, 32, 32), caption_channels=16, caption_layers=1)
    model = initialise_inpainter(settings, ("a", "polyp"), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.unet.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path_factory.mktemp("compact")
    write_tensors(folder / "model.safetensors", trainable_state(model))
    described = {
        "model": {**asdict(settings), "channels": list(settings.channels)},
        "vocabulary": list(model.vocabulary),
        "painting": {"context": 2.0, "margin": 0.2},
        "autoencoder": {"fingerprint": model.autoencoder.fingerprint},
    }
    write_json(folder / "model.json", described)
    return Compact(folder, CompactSettings(steps=2, batch_size=3))


def ask(seed: int, row: int = 20) -> InpaintRequest:
    image = np.random.default_rng(0).integers(60, 200, (90, 120, 3), dtype=np.uint8)
    mask = np.zeros((90, 120), bool)
    mask[row : row + 30, 40:70] = True
    return InpaintRequest(image, mask, mask, "a polyp", "", seed, lambda: np.zeros((90, 120, 3), np.float32))


def test_a_sample_is_the_same_in_any_batch(compact: Compact) -> None:
    """Up to rounding: a batched convolution may add in another order."""
    requests = [ask(1), ask(2, row=40), ask(3)]
    together = compact.inpaint(requests)
    for request, painted in zip(reversed(requests), reversed(together), strict=True):
        assert np.allclose(compact.inpaint([request])[0], painted, atol=1e-4)
    assert np.array_equal(compact.inpaint(requests)[1], together[1])
    assert np.abs(together[0] - together[2]).max() > 1e-3  # the same but for the seed


def test_all_of_the_mask_is_painted_where_it_reaches_beyond_the_lesions_surroundings(compact: Compact) -> None:
    """As for a lesion that replaces a longer one."""
    request = ask(1)
    lesion = np.zeros_like(request.mask)
    lesion[40:46, 62:70] = True
    (painted,) = compact.inpaint([replace(request, lesion=lesion)])
    assert (painted != to_unit(request.image))[request.mask].mean() > 0.9


def test_a_lesion_may_begin_with_a_real_one(compact: Compact) -> None:
    """The nearer to it, the lower the strength; at full strength it is never asked for, nor to paint mucosa."""
    stripes = np.broadcast_to(np.where(np.arange(120) % 16 < 8, 0.8, 0.2)[:, None], (90, 120, 3)).astype(np.float32)
    requests = [ask(1), replace(ask(1), donor=lambda: stripes)]
    mask, donor = ask(1).mask, with_donor(requests[1])
    mucosa = [replace(request, lesion=np.zeros_like(mask)) for request in requests]

    def painted(strength: float, asked: list[InpaintRequest]) -> list[np.ndarray]:
        return Compact(compact.checkpoint, CompactSettings(steps=5, strength=strength)).inpaint(asked)

    distances = []
    for strength in (0.1, 0.5, 0.9):
        flat, striped = painted(strength, requests)
        assert np.abs(flat - striped)[mask].max() > 0.01
        distances.append(np.abs(striped - donor)[mask].mean())
        assert np.array_equal(*painted(strength, mucosa))
    assert distances == sorted(distances)
    assert np.array_equal(*painted(1, [requests[0]]), *painted(1, [requests[1]]))
    both = painted(0.5, [mucosa[0], requests[1]])
    assert np.allclose(both[0], painted(0.5, mucosa[:1])[0], atol=1e-4)
    assert np.allclose(both[1], painted(0.5, requests[1:])[0], atol=1e-4)


def test_a_lesion_may_keep_the_detail_of_a_real_one(compact: Compact) -> None:
    """Its edges and highlights are found in what is painted, at every strength; its colours are not."""
    stripes = np.broadcast_to(np.where(np.arange(120) % 16 < 8, 0.8, 0.2)[:, None], (90, 120, 3)).astype(np.float32)
    flat, striped = ask(1), replace(ask(1), donor=lambda: stripes)
    donor, inner = with_donor(striped), (slice(24, 46), slice(44, 66))

    def likeness(settings: CompactSettings) -> float:
        (painted,) = Compact(compact.checkpoint, settings).inpaint([striped])
        return float(np.corrcoef(*(x[inner].mean(axis=(0, 2)) for x in (painted, donor)))[0, 1])

    real = CompactSettings(steps=5, detail="real")
    for strength in (1.0, 0.7):
        painted, kept = (likeness(replace(real, detail=way, strength=strength)) for way in ("painted", "real"))
        assert kept > 0.9 > painted
    inpainter = Compact(compact.checkpoint, real)
    can = inpainter.capabilities
    assert can.copies and not can.reads_lesion_mask and not compact.capabilities.copies
    nothing = [replace(request, lesion=np.zeros_like(flat.mask)) for request in (flat, striped)]
    assert np.array_equal(*inpainter.inpaint(nothing))  # to paint mucosa the donor is never asked for
    _, mucosa = inpainter.inpaint([striped, nothing[0]])
    assert np.allclose(mucosa, inpainter.inpaint(nothing[:1])[0], atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.05, 1.5, float("nan")])
def test_a_strength_that_paints_nothing_is_refused(strength: float) -> None:
    with pytest.raises(SyndiffError, match=r"strength is .*expected 0.1 to 1"):
        CompactSettings(strength=strength)


def test_nothing_changes_outside_of_the_crop(compact: Compact) -> None:
    request = ask(1)
    (painted,) = compact.inpaint([request])
    outside = np.ones(request.mask.shape, bool)
    outside[crop_box(request.lesion, compact.context, 24).slices] = False
    assert outside.any() and np.array_equal(painted[outside], to_unit(request.image)[outside])
    assert (painted != to_unit(request.image))[request.mask].mean() > 0.9


def test_what_it_paints_is_matched_to_its_surroundings(compact: Compact, monkeypatch: pytest.MonkeyPatch) -> None:
    (matched,) = compact.inpaint([ask(1)])
    monkeypatch.setattr(module, "match_surroundings", lambda painted, source, hidden: painted)
    (raw,) = compact.inpaint([ask(1)])
    frame, mask = to_unit(ask(1).image), ask(1).mask
    ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
    shift = {name: np.abs((painted - frame)[ring].mean(0)).max() for name, painted in (("m", matched), ("r", raw))}
    assert shift["m"] < 0.5 * shift["r"]


def test_colours_meet_those_around_the_mask() -> None:
    """An autoencoder shifts all colours a little: what it shifts around the mask is taken back inside it."""
    down, right = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    source = torch.stack([0.4 + 0.2 * down, 0.3 + 0.2 * right, 0.3 + 0 * down])[None]
    hidden = torch.zeros(1, 1, 64, 64)
    hidden[..., 24:40, 24:40] = 1
    lesion = source + 0.1 * hidden
    shifted = lesion + torch.tensor([0.08, -0.05, 0.04])[:, None, None]
    matched = match_surroundings(shifted, source, hidden)
    assert (matched - lesion).abs().max() < 0.01
    assert (shifted - lesion).abs().min().item() == pytest.approx(0.04, abs=1e-6)
