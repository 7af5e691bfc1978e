"""The paper's U-Net: its size, its heads, and the weights it may start from."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file, save_file

from syndiff.errors import SyndiffError
from syndiff.models.unet import UNetDenoiser, UNetWeights

PAPER = {"latent_channels": 4, "channels": 192, "multipliers": (1, 2, 2, 4, 4), "blocks": 2, "attention": (1, 2, 4, 8)}
NARROW = {"latent_channels": 4, "channels": 32, "multipliers": (1, 2), "blocks": 1, "attention": (2,), "heads": 4}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("condition_channels", "count"), [(4, 294_972_292), (0, 294_965_380)])
def test_it_has_the_294_97_million_parameters_of_the_paper(condition_channels, count):
    """Without a condition it is latent diffusion's church model; 4 channels more cost 192 * 9 weights each."""
    with torch.device("meta"):
        unet = UNetDenoiser(condition_channels=condition_channels, heads=8, **PAPER)
    assert parameters(unet) == count
    attentions = [module for module in unet.modules() if isinstance(module, Attention)]
    assert len(attentions) == 4 * 2 + 1 + 4 * 3 and {module.heads for module in attentions} == {8}


def test_with_a_context_it_is_stable_diffusions():
    settings = {**PAPER, "channels": 320, "multipliers": (1, 2, 4, 4), "attention": (1, 2, 4)}
    with torch.device("meta"):
        unet = UNetDenoiser(condition_channels=0, heads=8, context=768, **settings)
    assert parameters(unet) == 859_520_964  # of runwayml/stable-diffusion-v1-5


def random_unet(seed: int, **changes: object) -> UNetDenoiser:
    """All weights random, also those that start at zero."""
    unet = UNetDenoiser(**{**NARROW, "condition_channels": 4, **changes}).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return unet


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    noisy, condition = torch.randn(2, 2, 4, 8, 8, generator=generator)
    return noisy, torch.tensor([3, 900]), condition


@pytest.mark.parametrize("context", [0, 16])
def test_it_answers_to_noise_timestep_and_condition(context):
    unet = random_unet(0, context=context)
    noisy, timestep, condition = inputs()
    with torch.inference_mode():
        answer = unet(noisy, timestep, condition)
        assert answer.shape == noisy.shape and answer.isfinite().all()
        for other in ((-noisy, timestep, condition), (noisy, timestep.flip(0), condition), (noisy, timestep, -noisy)):
            assert not torch.allclose(unet(*other), answer)


@pytest.mark.parametrize("change", [{"blocks": 2}, {"attention": (1, 2)}, {"heads": 8}, {"multipliers": (1, 2, 2)}])
def test_each_setting_changes_the_function(change):
    noisy, timestep, condition = inputs()
    with torch.inference_mode():
        plain, changed = (random_unet(0, **c)(noisy, timestep, condition) for c in ({}, change))
    assert not torch.allclose(plain, changed)


def test_an_untrained_one_predicts_nothing():
    """Latent diffusion zeroes the end of every residual branch and of the network."""
    torch.manual_seed(0)
    assert not UNetDenoiser(condition_channels=4, **NARROW)(*inputs()).any()


@pytest.fixture(scope="module")
def plain():
    return random_unet(1, condition_channels=0)


@pytest.fixture(scope="module")
def saved(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "plain"
    plain.network.save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "copy"))


class TestInitialWeights:
    def test_zeroed_the_condition_has_no_say_at_first(self, plain, saved):
        unet = random_unet(2)
        UNetWeights(str(saved)).load_into(unet, extra="zero")
        noisy, timestep, condition = inputs()
        with torch.inference_mode():
            expected = plain(noisy, timestep, condition[:, :0])
            torch.testing.assert_close(unet(noisy, timestep, condition), expected)

    def test_halved_it_sees_the_mean_of_both(self, plain, saved):
        unet = random_unet(2)
        UNetWeights(str(saved)).load_into(unet, extra="halve")
        noisy, timestep, condition = inputs()
        with torch.inference_mode():
            expected = plain((noisy + condition) / 2, timestep, condition[:, :0])
            torch.testing.assert_close(unet(noisy, timestep, condition), expected, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("context", [0, 16])
    def test_weights_with_all_channels_are_taken_as_they_are(self, context, tmp_path):
        whole, unet = random_unet(1, context=context), random_unet(2, context=context)
        whole.network.save_pretrained(tmp_path / "unet")  # as in a pipeline's folder
        UNetWeights(str(tmp_path)).load_into(unet, extra="zero")
        with torch.inference_mode():
            assert torch.equal(unet(*inputs()), whole(*inputs()))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"channels": 64, "heads": 8}, "1 of its 158 tensors match"),
            ({"multipliers": (1, 2, 2)}, "tensors match in name and shape, the first that does not is"),
            ({"context": 16}, "tensors match"),
            ({"latent_channels": 16}, "16 latent channels on both sides"),
        ],
    )
    def test_those_of_another_shape_say_how_many_match(self, change, words, saved):
        unet = random_unet(2, **change)
        with pytest.raises(SyndiffError, match=words) as refusal:
            UNetWeights(str(saved)).load_into(unet, extra="zero")
        assert str(saved) in str(refusal.value) and "block_out_channels [32, 64]" in str(refusal.value)

    def test_halving_needs_equal_channels(self, saved):
        with pytest.raises(SyndiffError, match=r"condition_channels as the latent has \(4\)"):
            UNetWeights(str(saved)).load_into(random_unet(2, condition_channels=8), extra="halve")

    def test_a_missing_tensor_is_named(self, copied):
        state = load_file(copied / WEIGHTS)
        del state["conv_out.bias"]
        save_file(state, copied / WEIGHTS, {"format": "pt"})
        with pytest.raises(SyndiffError, match=r"1 tensors are missing, the first is conv_out\.bias"):
            UNetWeights(str(copied)).load_into(random_unet(2), extra="zero")

    def test_damaged_weights_are_named(self, copied):
        (copied / WEIGHTS).write_bytes((copied / WEIGHTS).read_bytes()[:3000])
        with pytest.raises(SyndiffError, match="copy could not be loaded"):
            UNetWeights(str(copied)).load_into(random_unet(2), extra="zero")

    def test_something_else_is_named(self, copied):
        (copied / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
        with pytest.raises(SyndiffError, match="found class AutoencoderKL"):
            UNetWeights(str(copied)).check(random_unet(2), extra="zero")
        (copied / "config.json").unlink()
        with pytest.raises(SyndiffError, match=r"no config\.json"):
            UNetWeights(str(copied)).check(random_unet(2), extra="zero")

    def test_a_folder_that_is_not_there_is_named(self):
        with pytest.raises(SyndiffError, match="denoiser_weights '/nowhere/unet' is neither an existing folder"):
            UNetWeights("/nowhere/unet")
