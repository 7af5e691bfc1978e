"""The noise schedule against its closed forms."""

import math

import pytest
import torch

from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.errors import SyndiffError


def test_defaults_are_those_of_the_ancestor():
    """abar rebuilt in plain Python; 0.918 at the paper's t = 50 and a leak of 0.026 at T - 1 (REFERENCE section 3)."""
    schedule = NoiseSchedule()
    abar, rows = 1.0, []
    for t in range(1000):
        root = math.sqrt(0.0015) + (math.sqrt(0.0155) - math.sqrt(0.0015)) * t / 999
        abar *= 1 - root**2
        rows.append(abar)
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(schedule.signal.double() ** 2, expected, rtol=1e-5, atol=1e-9)
    assert schedule.signal[50] ** 2 == pytest.approx(0.918, abs=1e-3)
    assert schedule.signal[999] == pytest.approx(0.026, abs=5e-4)


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_signal_falls_noise_rises_and_the_variance_stays_one(zero_terminal_snr):
    schedule = NoiseSchedule(timesteps=200, zero_terminal_snr=zero_terminal_snr)
    assert (schedule.signal.diff() < 0).all() and (schedule.noise.diff() > 0).all()
    torch.testing.assert_close(schedule.signal**2 + schedule.noise**2, torch.ones(200))


def test_zero_terminal_snr_holds_no_signal_at_the_end_and_keeps_the_beginning():
    plain, zero = NoiseSchedule(), NoiseSchedule(zero_terminal_snr=True)
    assert zero.signal[-1] == 0 and zero.noise[-1] == 1
    torch.testing.assert_close(zero.signal[0], plain.signal[0])
    clean, noise, last = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor([999, 999])
    assert torch.equal(zero.diffuse(clean, noise, last), noise)
    assert not torch.equal(plain.diffuse(clean, noise, last), noise)


def test_diffuse_mixes_each_sample_at_its_own_timestep():
    schedule = NoiseSchedule(timesteps=10)
    clean, noise = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    noisy = schedule.diffuse(clean, noise, torch.tensor([0, 9]))
    assert torch.equal(noisy[:, 0, 0, 0], schedule.signal[[0, 9]])


@pytest.mark.parametrize(
    "wrong", [{"timesteps": 1}, {"beta_start": 0.0}, {"beta_start": 0.02, "beta_end": 0.01}, {"beta_end": 1.0}]
)
def test_impossible_settings_are_named(wrong):
    with pytest.raises(SyndiffError, match="expected at least 2 timesteps") as refusal:
        NoiseSchedule(**wrong)
    assert all(f"{name}={value}" in str(refusal.value) for name, value in wrong.items())


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize("settings", [(1000, 0.0015, 0.0155), (1000, 0.00085, 0.012), (7, 0.01, 0.5), (2, 1e-5, 2e-5)])
def test_the_numbers_are_to_the_bit_those_that_torch_computes(settings, zero_terminal_snr):
    """Trained weights belong to these bits: the schedule was first written in torch, as here."""
    timesteps, beta_start, beta_end = settings
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64).square()
    signal = (1 - betas).cumprod(0).sqrt()
    if zero_terminal_snr:
        signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    schedule = NoiseSchedule(
        timesteps=timesteps, beta_start=beta_start, beta_end=beta_end, zero_terminal_snr=zero_terminal_snr
    )
    assert torch.equal(schedule.signal, signal.float())
    assert torch.equal(schedule.noise, (1 - signal.square()).sqrt().float())
