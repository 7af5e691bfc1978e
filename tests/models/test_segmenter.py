"""One contract for the one-step segmenter, its control and the baselines; what settings may not be."""

from contextlib import contextmanager
from typing import get_args

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

from fake_gpu import GPU, fake_gpu, to_fake_gpu
from syndiff.errors import SyndiffError
from syndiff.models.network import Batch, LossWeights
from syndiff.models.segmenter import initialise
from syndiff.models.settings import Kind, SegmenterSettings
from syndiff.models.tensors import trainable_state
from syndiff.training.batches import moved
from tiny_pipelines import save_narrow_kl

TINY = {"image_size": 32, "pretrained": False, "condition_channels": 8, "denoiser_channels": 8}
UNET = {"denoiser_channels": 32, "unet_multipliers": (1, 2), "unet_blocks": 1, "unet_attention": (2,), "unet_heads": 4}
OBJECTIVES = [
    {"objective": "z0", "zero_terminal_snr": True},
    {"objective": "v", "zero_terminal_snr": True},
    {"objective": "noise+latent", "zero_terminal_snr": False},
]
VARIANTS = [
    *({"kind": kind} for kind in get_args(Kind)),
    *(
        {"encoder": encoder, "denoiser": denoiser, **(UNET if denoiser == "unet" else {})}
        for encoder, denoiser in (("efficientnet-lite0", "unet"), ("autoencoder", "compact"), ("autoencoder", "unet"))
    ),
    *({**objective, "inference_steps": steps} for objective in OBJECTIVES for steps in (1, 3)),
]
VARIANTS.remove({**OBJECTIVES[0], "inference_steps": 1})  # the defaults, which the kind diffusion has


@pytest.fixture(scope="module")
def kl(tmp_path_factory):
    return str(save_narrow_kl(tmp_path_factory.mktemp("narrow") / "kl"))


def inputs(model, height, width, seed=0):
    """What a forward pass takes: a batch of two images, and noise."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, height, width, generator=generator)
    return image, torch.randn(2, *model.noise_shape(height, width), generator=generator)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: ",".join(map(str, variant.values())))
class TestSegmenter:
    @pytest.fixture
    def settings(self, variant, kl):
        autoencoder = kl if variant.get("encoder") == "autoencoder" else "mask"
        return SegmenterSettings(**{**TINY, "autoencoder": autoencoder, **variant})

    @pytest.fixture
    def model(self, settings):
        return initialise(settings, 0).eval()

    @pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (96, 32)])
    def test_logits_have_the_size_of_the_image(self, model, height, width):
        logits = model(*inputs(model, height, width))
        assert logits.shape == (2, 1, height, width) and logits.isfinite().all()

    def test_a_case_gets_the_same_answer_alone_and_in_a_batch(self, model, settings):
        both = inputs(model, 64, 64)
        # the estimate from a predicted noise multiplies its rounding by sqrt((1 - abar) / abar), 38.7 at T - 1
        near = 4e-3 if settings.objective == "noise+latent" else 1e-4
        with torch.inference_mode():
            torch.testing.assert_close(model(*both)[1:], model(*(part[1:] for part in both)), atol=near, rtol=near)

    def test_the_seed_decides_the_weights_and_nothing_else_is_disturbed(self, settings):
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

    def test_the_weights_that_are_kept_are_all_that_an_answer_needs(self, model, settings):
        other = initialise(settings, 1).eval()
        other.load_state_dict({**other.state_dict(), **trainable_state(model)})
        batch = inputs(model, 32, 32)
        with torch.inference_mode():
            assert torch.equal(model(*batch), other(*batch))

    def test_losses_are_finite_scalars_and_reach_what_is_trained(self, model):
        image, noise = inputs(model, 32, 32)
        timestep = model.draw_timesteps(2, at_inference=0.5, generator=torch.Generator().manual_seed(0))
        batch = Batch(image, (image[:, :1] > 0.5).float(), noise, timestep)
        losses = model.losses(batch, LossWeights(1.0, 0.5))
        assert "mask" in losses and all(loss.shape == () and loss.isfinite() for loss in losses.values())
        sum(losses.values()).backward()
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
        assert any(p.grad is not None and p.grad.any() for p in model.parameters())

    def test_its_parts_are_all_of_it(self, model):
        model.freeze_unused(LossWeights(1.0, 0.5))
        counted = [p for part in model.parts().values() for p in part.parameters()]
        assert {id(p) for p in counted} == {id(p) for p in model.parameters()} and len(counted) == len({*counted})
        own = {*model.parameters()}
        assert {*model.backbone_part.parameters()} <= own
        assert model.vision_encoder is None or {*model.backbone_part.parameters()} <= {
            *model.vision_encoder.parameters()
        }

    def test_there_are_as_many_members_as_noises_and_the_first_is_the_answer(self, model):
        image, noise = inputs(model, 32, 32)
        noises = [noise, -noise] if model.draws else [noise]
        with torch.inference_mode():
            members = model.members(image, noises, seed=0)
            torch.testing.assert_close(members[0], model(image, noise))
        assert len(members) == len(noises)

    def test_a_prediction_opens_its_stages_in_turn(self, model):
        opened = []

        @contextmanager
        def stage(name):
            opened.append(name)
            yield

        with torch.inference_mode():
            image, noise = inputs(model, 32, 32)
            assert torch.equal(model.predict(image, noise, stage), model(image, noise))
        assert opened == (["encode", "denoise", "decode"] if model.draws == "noise" else ["network"])

    def test_nothing_of_it_stays_behind_on_the_cpu_when_it_goes_to_a_gpu(self, model):
        image, noise = inputs(model, 32, 32)
        timestep = model.draw_timesteps(2, at_inference=0.5, generator=torch.Generator().manual_seed(0))
        with fake_gpu():
            to_fake_gpu(model)
            batch = moved(Batch(image, (image[:, :1] > 0.5).float(), noise, timestep), GPU)
            answers = [*model.answer(batch.image, batch.noise), *model.members(batch.image, [batch.noise], seed=0)]
            answers += model.losses(batch, LossWeights(1.0, 0.5)).values()
            assert {answer.device.type for answer in answers if answer.numel()} == {"cuda"}
            with pytest.raises(FakeTensorDeviceMismatchError):  # what this test would see
                model.answer(image, batch.noise)

    def test_where_its_weights_come_from_is_told(self, model, settings):
        sources = model.weight_sources(settings, autoencoder_here=True)
        assert sources and not any(source.fetched for source in sources)


def test_what_is_not_here_is_fetched():
    settings = SegmenterSettings(**TINY)
    autoencoder, *_ = initialise(settings, 0).weight_sources(settings, autoencoder_here=False)
    assert autoencoder.fetched and "GB" in autoencoder.source


def test_dropout_masks_are_drawn_from_the_seed():
    model = initialise(SegmenterSettings(**{**TINY, "kind": "control", "control_dropout": 0.5}), 0).eval()
    image, noise = inputs(model, 64, 64)
    assert model.draws == "dropout"
    with torch.inference_mode():
        first, again, other = (model.members(image, [noise] * 3, seed=seed) for seed in (1, 1, 2))
        assert all(map(torch.equal, first, again)) and not any(map(torch.equal, first, other))
        assert torch.equal(model.members(image, [noise], seed=1)[0], model(image, noise))


@pytest.mark.parametrize("objective", ["z0", "v", "noise+latent"])
def test_noise_matters_and_more_steps_change_the_answer(objective):
    settings = {**TINY, "objective": objective, "zero_terminal_snr": False}
    one, four = (initialise(SegmenterSettings(inference_steps=n, **settings), 0).eval() for n in (1, 4))
    image, noise = inputs(one, 32, 32)
    with torch.inference_mode():
        assert not torch.equal(one(image, noise), one(image, -noise))
        assert not torch.equal(one(image, noise), four(image, noise))
        assert not torch.equal(*one.members(image, [noise, -noise], seed=0))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"image_size": 100}, "multiple of 32"),
        ({"image_size": 0}, "multiple of 32"),
        ({"kind": "diffuse"}, "one of diffusion, control, unet, attention-unet, segresnet"),
        ({"inference_timestep": 1000}, "0 to 999"),
        ({"inference_timestep": -2}, "-1 to 99,999"),
        ({"inference_timestep": 10, "timesteps": 10}, "0 to 9"),
        ({"inference_steps": 0}, "1 to 100,000"),
        ({"inference_timestep": 50, "inference_steps": 52}, "1 to 51 from timestep 50"),
        ({"denoiser_channels": 12}, "multiple of 8"),
        ({"condition_channels": 0}, "1 to 4096"),
        ({"latent_weight": -1.0}, "0 to 1,000,000"),
        ({"timesteps": 1}, "2 to 100,000"),
    ],
)
def test_an_impossible_setting_is_refused_before_anything_is_built(wrong, words):
    with pytest.raises(SyndiffError) as refusal:
        SegmenterSettings(**wrong)
    name = "inference_steps" if "inference_steps" in wrong else next(iter(wrong))
    assert words in str(refusal.value) and name in str(refusal.value)


def test_the_paper_objective_needs_a_schedule_that_keeps_some_signal():
    with pytest.raises(SyndiffError, match="zero_terminal_snr"):
        SegmenterSettings(objective="noise+latent", zero_terminal_snr=True, **TINY)
