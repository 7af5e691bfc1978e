"""The compact inpainter's network: what it is told, what is kept from it, and that it comes back as it was saved."""

from dataclasses import asdict

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

from fake_gpu import GPU, fake_gpu, to_fake_gpu
from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.models.inpainter import InpaintingModel, initialise_inpainter, load_inpainter
from syndiff.models.settings import InpaintingSettings
from syndiff.models.tensors import trainable_state, write_tensors

SETTINGS = InpaintingSettings(crop_size=64, channels=(32, 32, 32), caption_channels=16, caption_layers=1)
VOCABULARY = ("a", "blue", "polyp", "red")


@pytest.fixture(scope="module")
def model() -> InpaintingModel:
    """A network whose every part has an effect: diffusers starts some at zero."""
    model = initialise_inpainter(SETTINGS, VOCABULARY, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.unet.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture
def request_(model):
    """Arguments of `paint`: two crops, each with an lesion_mask in a wider hidden square."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 64, 64, generator=generator)
    lesion, hidden = torch.zeros(2, 1, 64, 64), torch.zeros(2, 1, 64, 64)
    lesion[..., 24:40, 24:40] = 1
    hidden[..., 16:48, 16:48] = 1
    noise = torch.randn(2, *model.noise_shape(), generator=generator)
    return {"image": image, "lesion": lesion, "hidden": hidden, "captions": ["a red polyp"] * 2, "noise": noise}


def paint(model, request_, guidance_scale=2.0, **changes):
    return model.paint(*{**request_, **changes}.values(), steps=2, guidance_scale=guidance_scale)


def test_a_painting_is_a_picture(model, request_):
    painted = paint(model, request_)
    assert painted.shape == (2, 3, 64, 64)
    assert painted.min() >= 0 and painted.max() <= 1


@pytest.mark.parametrize("way", [{}, {"guidance_scale": 1}, {"strength": 0.5}, {"real_detail": True}], ids=str)
def test_nothing_of_it_stays_behind_on_the_cpu_when_it_goes_to_a_gpu(request_, way):
    model = initialise_inpainter(SETTINGS, VOCABULARY, 0).eval()
    with fake_gpu():
        to_fake_gpu(model)
        there = {name: value if name == "captions" else value.to(GPU) for name, value in request_.items()}
        begun = {"begun_bchw": there["image"]} if {"strength", "real_detail"} & {*way} else {}
        asked = {"steps": 2, "guidance_scale": 2.0, **way, **begun}
        without_mode = InpaintingModel.paint.__wrapped__  # inference mode asks the driver
        painted = without_mode(model, *there.values(), **asked)
        assert painted.device.type == "cuda"
        with pytest.raises(FakeTensorDeviceMismatchError):  # what this test would see
            without_mode(model, *{**there, "lesion": request_["lesion"]}.values(), **asked)


@pytest.mark.parametrize("what", ["captions", "lesion", "noise"])
def test_caption_outline_and_noise_change_the_painting(model, request_, what):
    other = {
        "captions": ["a blue polyp"] * 2,
        "lesion": request_["lesion"].roll(2, -1),
        "noise": request_["noise"].flip(-1),
    }
    assert (paint(model, request_) - paint(model, request_, **{what: other[what]})).abs().max() > 1e-3


def test_what_is_hidden_cannot_be_seen(model, request_):
    """The original lesion's pixels must not leak into what is painted over them."""
    there = torch.where(request_["hidden"] > 0, 1 - request_["image"], request_["image"])
    assert torch.equal(paint(model, request_), paint(model, request_, image=there))


def test_surroundings_are_seen(model, request_):
    there = torch.where(request_["hidden"] > 0, request_["image"], 1 - request_["image"])
    assert (paint(model, request_) - paint(model, request_, image=there)).abs().max() > 1e-3


def test_a_sample_is_the_same_in_any_batch(model, request_):
    both = paint(model, request_)
    alone = paint(model, {name: value[1:] for name, value in request_.items()})
    torch.testing.assert_close(alone[0], both[1], atol=1e-4, rtol=0)


def test_guidance_of_one_is_the_conditional_model_and_zero_ignores_the_caption(model, request_):
    blue = {"captions": ["a blue polyp"] * 2}
    assert torch.equal(paint(model, request_, 0.0), paint(model, request_, 0.0, **blue))
    mild, strong = ((paint(model, request_, g) - paint(model, request_, g, **blue)).abs().mean() for g in (1.0, 3.0))
    assert 0 < mild < strong


def save(folder, model, **changes):
    described = {
        "model": {**asdict(model.settings), "channels": list(model.settings.channels)},
        "vocabulary": list(model.vocabulary),
        "autoencoder": {"fingerprint": model.autoencoder.fingerprint},
    }
    write_tensors(folder / "model.safetensors", trainable_state(model))
    write_json(folder / "model.json", {**described, **changes})


def test_a_saved_model_paints_the_very_same(model, request_, tmp_path):
    model.latent_mean.fill_(0.25)
    save(tmp_path, model)
    loaded = load_inpainter(tmp_path)
    assert torch.equal(loaded.latent_mean, model.latent_mean)
    assert torch.equal(paint(loaded, request_), paint(model, request_))


def test_components_are_uncorrelated_and_decode_to_what_was_encoded(request_):
    model = initialise_inpainter(SETTINGS, VOCABULARY, 0).eval()
    latent = model.autoencoder.encode(request_["image"] * 2 - 1)
    model.measure(latent)
    components = model.components(latent)
    flat = components.permute(1, 0, 2, 3).flatten(1)
    covariance = flat @ flat.T / flat.shape[1]
    assert covariance.diagonal().mean().item() == pytest.approx(1, abs=1e-3)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3
    assert (covariance.diagonal().diff() <= 1e-4).all()  # the widest first
    expected = (model.autoencoder.decode(latent) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(model.decode(components), expected, atol=1e-3, rtol=0)


def test_pictures_without_any_difference_teach_nothing():
    model = initialise_inpainter(SETTINGS, VOCABULARY, 0)
    with pytest.raises(SyndiffError, match="all of one colour"):
        model.measure(torch.zeros(2, model.autoencoder.latent_channels, 4, 4))


def test_folders_that_hold_something_else_are_named(model, tmp_path):
    save(tmp_path, model, autoencoder={"fingerprint": "0" * 64})
    with pytest.raises(SyndiffError, match="trained with an autoencoder compact of fingerprint 000000000000"):
        load_inpainter(tmp_path)
    save(tmp_path, model, vocabulary=["a"])
    with pytest.raises(SyndiffError, match=r"does not fit the network.*captions\.word"):
        load_inpainter(tmp_path)
    described = read_json(tmp_path / "model.json")
    write_json(tmp_path / "model.json", {**described, "model": {"kind": "diffusion"}})
    with pytest.raises(SyndiffError, match="does not describe a compact inpainter"):
        load_inpainter(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"crop_size": 100}, "crop_size is 100, expected 64 to 1024, a multiple of 32"),
        ({"autoencoder": "mask"}, "autoencoder is 'mask', expected one that knows pictures"),
        ({"channels": (32, 32, 40)}, "channels"),
        ({"caption_channels": 6}, "caption_channels"),
        ({"caption_length": 1}, "caption_length"),
    ],
)
def test_settings_that_no_network_has_are_refused(wrong, words):
    with pytest.raises(SyndiffError, match=words):
        InpaintingSettings(**wrong)
