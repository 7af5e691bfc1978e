"""Prediction of smooth latents: exact where the answer is known, and no noise handed on where it is not."""

import pytest
import torch
import torch.nn.functional as F

from syndiff.diffusion.samplers import ddim
from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.diffusion.smooth_latent import SmoothLatent

SPREAD = torch.tensor([3.0, 1.0, 0.2]).view(1, -1, 1, 1)
TIMESTEPS = [0, 30, 300, 700, 999]


def noise(seed, side=16):
    return torch.randn(64, 3, side, side, generator=torch.Generator().manual_seed(seed))


def smooth(seed):
    """The first channel smooth, the others white; standard deviations of SPREAD."""
    white = noise(seed)
    blurred = F.avg_pool2d(noise(seed + 100, 22), 7, 1) * 7
    return torch.cat([blurred[:, :1], white[:, 1:]], 1) * SPREAD


@pytest.fixture(scope="module")
def prediction():
    found = SmoothLatent(NoiseSchedule(zero_terminal_snr=True), 3)
    found.measure(smooth(0))
    return found


def test_what_is_measured_is_the_spread_and_what_neighbours_do_not_tell(prediction):
    torch.testing.assert_close(prediction.spread, SPREAD, atol=0, rtol=0.05)
    told = prediction.detail / SPREAD
    assert told[0, 0] < 0.4
    torch.testing.assert_close(told[0, 1:], torch.ones(2, 1, 1), atol=0.05, rtol=0)


def test_a_channel_that_never_changes_divides_by_no_zero():
    prediction = SmoothLatent(NoiseSchedule(), 3)
    prediction.measure(torch.zeros(2, 3, 4, 4))
    t = torch.zeros(2, dtype=torch.long)
    assert torch.isfinite(prediction.estimate(torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4), t).clean).all()


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_the_input_has_unit_variance_and_so_has_the_answer(prediction, timestep):
    t = torch.full((64,), timestep)
    clean = smooth(1)
    noisy = prediction.schedule.diffuse(clean, noise(2), t)
    nothing, one = (prediction.estimate(torch.full_like(clean, x), noisy, t).clean for x in (0.0, 1.0))
    answer = (clean - nothing) / (one - nothing)  # what F has to be
    for values in (prediction.scaled(noisy, t), answer):
        torch.testing.assert_close(values.std((0, 2, 3)), torch.ones(3), atol=0.1, rtol=0)


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_clean_latent_and_noise_make_up_what_was_seen(prediction, timestep):
    t = torch.full((64,), timestep)
    noisy = prediction.schedule.diffuse(smooth(1), noise(2), t)
    estimate = prediction.estimate(noise(3), noisy, t)
    torch.testing.assert_close(prediction.schedule.diffuse(*estimate, t), noisy, atol=1e-4, rtol=1e-4)


def test_a_network_that_answers_nothing_hands_on_little_noise(prediction):
    """An untrained network must leave a smooth picture, not a mottled one."""
    sample = ddim(lambda z, t: torch.zeros_like(z), prediction, prediction.schedule, noise(4), start=999, steps=25)
    assert (sample.std((0, 2, 3)) < 0.25 * SPREAD.flatten()).all()


def test_the_weight_is_that_of_velocity_where_there_is_noise_and_bounded_elsewhere(prediction):
    t = torch.tensor([0, 999])
    assert prediction.weight(t).flatten().tolist() == pytest.approx([4.0, 1.0])
