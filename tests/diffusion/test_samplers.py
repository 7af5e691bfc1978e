"""From noise to a latent: one step is a special case of DDIM, and a perfect denoiser is never spoilt."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syndiff.diffusion.objectives import OBJECTIVES, make_objective
from syndiff.diffusion.samplers import ddim, ddim_timesteps
from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.errors import SyndiffError

modest = settings(max_examples=60, deadline=None)


@modest
@given(st.data())
def test_timesteps_fall_strictly_from_the_start_and_stay_in_the_schedule(data):
    start = data.draw(st.integers(0, 2000))
    steps = data.draw(st.integers(1, start + 1))
    timesteps = ddim_timesteps(start, steps)
    assert len(timesteps) == steps and timesteps[0] == start
    assert all(later < earlier for earlier, later in itertools.pairwise(timesteps))
    assert timesteps[-1] >= 0


@pytest.mark.parametrize("steps", [0, -1, 52])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(SyndiffError, match=f"found {steps}, expected 1 to 51 from timestep 50"):
        ddim_timesteps(50, steps)


def a_network(noisy, timestep_b):
    """Any function of its inputs serves."""
    return torch.sin(noisy) + timestep_b.view(-1, 1, 1, 1) / 1000


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("start", [999, 50])
def test_one_step_is_the_estimate_from_pure_noise(name, start):
    schedule = NoiseSchedule()
    objective = make_objective(name, schedule, latent_weight=1.0, norm="l1")
    noise = torch.randn(2, 4, 3, 3)
    timestep_b = torch.full((2,), start)
    estimate = objective.estimate(a_network(noise, timestep_b), noise, timestep_b)
    assert torch.equal(ddim(a_network, objective, schedule, noise, start=start, steps=1), estimate.clean)


@modest
@given(
    name=st.sampled_from(sorted(OBJECTIVES)),
    zero=st.booleans(),
    start=st.integers(0, 99),
    share=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_a_perfect_denoiser_recovers_the_latent_in_any_number_of_steps(name, zero, start, share, seed):
    schedule = NoiseSchedule(timesteps=100, beta_end=0.1, zero_terminal_snr=zero and name != "noise+latent")
    objective = make_objective(name, schedule, latent_weight=1.0, norm="l1")
    generator = torch.Generator().manual_seed(seed)
    clean, noise = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    begin = schedule.diffuse(clean, noise, torch.full((2,), start))

    def perfect(noisy, timestep_b):
        signal, scale = schedule.coefficients(timestep_b)
        known = (noisy - signal * clean) / scale
        return {"noise+latent": known, "z0": clean, "v": signal * known - scale * clean}[name]

    steps = 1 + round(share * start)
    found = ddim(perfect, objective, schedule, begin, start=start, steps=steps)
    torch.testing.assert_close(found, clean, atol=2e-3, rtol=1e-3)


def test_more_steps_ask_the_network_more_often():
    schedule = NoiseSchedule(timesteps=20)
    objective = make_objective("z0", schedule, latent_weight=1.0, norm="l1")
    asked = []

    def network(noisy, timestep_b):
        asked.append(timestep_b.unique().item())
        return noisy * 0.5

    ddim(network, objective, schedule, torch.randn(2, 1, 2, 2), start=19, steps=4)
    assert asked == ddim_timesteps(19, 4) == [19, 14, 9, 4]


def test_what_is_known_is_known_at_every_step():
    """The network is shown z_t of what the estimates are corrected to, with the noise that sampling began with."""
    schedule = NoiseSchedule(zero_terminal_snr=True)
    objective = make_objective("z0", schedule, latent_weight=1.0, norm="l1")
    noise, known = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    seen = []

    def network(noisy, timestep_b):
        seen.append((noisy, timestep_b))
        return a_network(noisy, timestep_b)

    corrected = torch.arange(4).view(1, 4, 1, 1) < 2  # two channels of four
    found = ddim(
        network,
        objective,
        schedule,
        noise,
        start=999,
        steps=7,
        corrected=lambda clean: torch.where(corrected, known, clean),
    )
    assert len(seen) == 7 and torch.equal(found[:, :2], known[:, :2])
    for noisy, timestep_b in seen:
        expected = schedule.diffuse(known, noise, timestep_b)
        assert torch.allclose(noisy[:, :2], expected[:, :2], atol=1e-4)
    free = ddim(a_network, objective, schedule, noise, start=999, steps=7)
    assert torch.equal(found[:, 2:], free[:, 2:]), "this network looks at one channel at a time"
