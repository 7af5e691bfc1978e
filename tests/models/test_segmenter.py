"""One contract for the one-step segmenter, its control and its peers; what settings may not be."""

from typing import get_args

import pytest
import torch

from syndiff.errors import SyndiffError
from syndiff.models.control import PlainNetwork
from syndiff.models.segmenter import Kind, SegmenterSettings, initialise
from syndiff.models.tensors import trainable_state

TINY = {"image_size": 32, "pretrained": False, "condition_channels": 8, "denoiser_channels": 8}


def inputs(model, height, width, seed=0):
    """What a forward pass takes: a batch of two images, and noise for a diffusion segmenter."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, height, width, generator=generator)
    if isinstance(model, PlainNetwork):
        return (image,)
    return image, torch.randn(2, *model.noise_shape(height, width), generator=generator)


@pytest.mark.parametrize("kind", get_args(Kind))
class TestSegmenter:
    @pytest.fixture
    def model(self, kind):
        return initialise(SegmenterSettings(kind=kind, **TINY), 0).eval()

    @pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (96, 32)])
    def test_logits_have_the_size_of_the_image(self, model, height, width):
        logits = model(*inputs(model, height, width))
        assert logits.shape == (2, 1, height, width) and logits.isfinite().all()

    def test_a_case_gets_the_same_answer_alone_and_in_a_batch(self, model):
        both = inputs(model, 64, 64)
        with torch.inference_mode():
            torch.testing.assert_close(model(*both)[1:], model(*(part[1:] for part in both)), atol=1e-4, rtol=1e-4)

    def test_the_seed_decides_the_weights_and_nothing_else_is_disturbed(self, kind):
        settings = SegmenterSettings(kind=kind, **TINY)
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        first, again, other = (trainable_state(initialise(settings, seed)) for seed in (1, 1, 2))
        assert torch.equal(torch.rand(3), expected)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not all(torch.equal(first[name], other[name]) for name in first)

    def test_the_frozen_autoencoder_is_not_among_the_weights_that_are_kept(self, model):
        kept = trainable_state(model)
        assert {name for name, p in model.named_parameters() if p.requires_grad} <= set(kept)
        assert not [name for name in kept if name.startswith("autoencoder")]


@pytest.mark.parametrize("objective", ["z0", "v", "noise+latent"])
def test_noise_matters_and_more_steps_change_the_answer(objective):
    settings = {**TINY, "objective": objective, "zero_terminal_snr": False}
    one, four = (initialise(SegmenterSettings(inference_steps=n, **settings), 0).eval() for n in (1, 4))
    image, noise = inputs(one, 32, 32)
    with torch.inference_mode():
        assert not torch.equal(one(image, noise), one(image, -noise))
        assert not torch.equal(one(image, noise), four(image, noise))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"image_size": 100}, "multiple of 32"),
        ({"image_size": 0}, "multiple of 32"),
        ({"kind": "diffuse"}, "one of diffusion, control, unet, attention-unet, segresnet"),
        ({"inference_timestep": 1000}, "0 to 999"),
        ({"inference_timestep": -2}, "0 to 999"),
        ({"inference_timestep": 10, "timesteps": 10}, "0 to 9"),
        ({"inference_steps": 0}, "1 to 1000"),
        ({"inference_timestep": 50, "inference_steps": 52}, "1 to 51 from timestep 50"),
        ({"denoiser_channels": 12}, "multiple of 8"),
        ({"condition_channels": 0}, "1 or more"),
        ({"latent_weight": -1.0}, "0 or more"),
        ({"timesteps": 1}, "2 or more"),
    ],
)
def test_an_impossible_setting_is_refused_before_anything_is_built(wrong, words):
    with pytest.raises(SyndiffError) as refusal:
        SegmenterSettings(**wrong)
    name = "inference_steps" if "inference_steps" in wrong else next(iter(wrong))
    assert words in str(refusal.value) and name in str(refusal.value)


def test_the_paper_objective_needs_a_schedule_that_keeps_some_signal():
    with pytest.raises(SyndiffError, match="zero_terminal_snr"):
        initialise(SegmenterSettings(objective="noise+latent", zero_terminal_snr=True, **TINY), 0)
