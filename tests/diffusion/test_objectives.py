"""One contract for everything the denoiser may predict."""

import pytest
import torch
from torch import Tensor

from syndiff.diffusion.objectives import OBJECTIVES, make_objective
from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.errors import SyndiffError

PERFECT = {
    "noise+latent": lambda schedule, clean, noise, t: noise,
    "z0": lambda schedule, clean, noise, t: clean,
    "v": lambda schedule, clean, noise, t: schedule.diffuse(noise, -clean, t),
}
"""What a denoiser that knows z_0 and n would output."""


def draw(schedule: NoiseSchedule, seed: int, batch: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean, noise = (torch.randn(batch, 3, 4, 5, generator=generator) for _ in range(2))
    return clean, noise, torch.randint(0, schedule.timesteps, (batch,), generator=generator)


def cases():
    return [
        pytest.param(name, zero, id=f"{name}{' zero-snr' if zero else ''}")
        for name in OBJECTIVES
        for zero in (False, True)
        if not (zero and name == "noise+latent")
    ]


@pytest.mark.parametrize(("name", "zero"), cases())
class TestObjective:
    @pytest.fixture
    def schedule(self, zero):
        return NoiseSchedule(zero_terminal_snr=zero)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_perfect_output_gives_back_what_was_diffused_and_costs_nothing(self, name, schedule, seed):
        objective = make_objective(name, schedule, latent_weight=1.0, norm="l1")
        clean, noise, t = draw(schedule, seed)
        t[0], t[1] = 0, schedule.timesteps - 1
        output = PERFECT[name](schedule, clean, noise, t)
        estimate = objective.estimate(output, schedule.diffuse(clean, noise, t), t)
        # Where little of a part is left in z_t, rounding is divided by that little: 1 / 0.026 and 1 / 0.039.
        torch.testing.assert_close(estimate.clean, clean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(estimate.noise, noise, atol=1e-4, rtol=1e-4)
        for value in objective.losses(estimate, clean, noise, t).values():
            assert value.item() == pytest.approx(0, abs=1e-4)

    @pytest.mark.parametrize("norm", ["l1", "l2"])
    def test_losses_are_finite_scalars_that_teach_the_output(self, name, schedule, norm):
        objective = make_objective(name, schedule, latent_weight=1.0, norm=norm)
        clean, noise, t = draw(schedule, 0)
        output = torch.zeros_like(clean, requires_grad=True)
        losses = objective.losses(objective.estimate(output, schedule.diffuse(clean, noise, t), t), clean, noise, t)
        assert all(value.ndim == 0 and value > 0 and value.isfinite() for value in losses.values())
        sum(losses.values()).backward()
        assert output.grad.isfinite().all() and (output.grad.flatten(1).abs().sum(1) > 0).all()

    def test_the_latent_weight_scales_its_term(self, name, schedule):
        clean, noise, t = draw(schedule, 1)
        terms = []
        for weight in (1.0, 3.0):
            objective = make_objective(name, schedule, latent_weight=weight, norm="l1")
            estimate = objective.estimate(torch.zeros_like(clean), schedule.diffuse(clean, noise, t), t)
            terms.append(objective.losses(estimate, clean, noise, t))
        scaled = "velocity" if name == "v" else "latent"
        torch.testing.assert_close(terms[1].pop(scaled), 3 * terms[0].pop(scaled))
        assert terms[0] == terms[1]


def test_the_direct_latent_loss_is_a_reweighted_noise_loss():
    """|z~_0 - z_0| = sqrt((1 - abar_t) / abar_t) |n~ - n|: 0.30 at t = 50 and 38.7 at t = 999 (REFERENCE section 3)."""
    schedule = NoiseSchedule()
    objective = make_objective("noise+latent", schedule, latent_weight=1.0, norm="l1")
    clean, noise, _ = draw(schedule, 2)
    for t, weight in ((50, 0.30), (999, 38.7)):
        timesteps = torch.full((len(clean),), t)
        output = torch.zeros_like(noise)
        estimate = objective.estimate(output, schedule.diffuse(clean, noise, timesteps), timesteps)
        losses = objective.losses(estimate, clean, noise, timesteps)
        exact = ((1 - schedule.signal[t] ** 2).sqrt() / schedule.signal[t]).item()
        assert (losses["latent"] / losses["noise"]).item() == pytest.approx(exact, rel=1e-3)
        assert exact == pytest.approx(weight, rel=0.01)


def test_noise_prediction_without_terminal_signal_is_refused():
    with pytest.raises(SyndiffError, match="zero_terminal_snr to false or choose the objective z0 or v"):
        make_objective("noise+latent", NoiseSchedule(zero_terminal_snr=True), latent_weight=1.0, norm="l1")


@pytest.mark.parametrize(("name", "norm"), [("epsilon", "l1"), ("z0", "l3")])
def test_unknown_names_are_refused_with_the_choices(name, norm):
    with pytest.raises(SyndiffError, match=r"noise\+latent.*l2"):
        make_objective(name, NoiseSchedule(), latent_weight=1.0, norm=norm)
