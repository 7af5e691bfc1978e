"""The moving average against its closed form."""

import pytest
import torch
from torch import nn

from syndiff.training.ema import MovingAverage


def a_model(value: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    model[0].bias.requires_grad_(False)
    return model


@pytest.mark.parametrize("decay", [0.15, 0.99])
def test_the_average_of_known_weights(decay):
    model = a_model(0.0)
    average, expected = MovingAverage(model, decay), 0.0
    for step in range(1, 30):
        with torch.no_grad():
            model[0].weight.fill_(float(step))
        average.update(step)
        used = min(decay, (1 + step) / (10 + step))
        expected = used * expected + (1 - used) * step
    torch.testing.assert_close(average.average["0.weight"], torch.full((3, 2), expected), rtol=1e-5, atol=1e-5)


def test_swapping_twice_changes_nothing_and_once_shows_the_average():
    model = a_model(1.0)
    average = MovingAverage(model, 0.5)
    with torch.no_grad():
        model[0].weight.fill_(3.0)
    average.swap()
    assert (model[0].weight == 1).all() and (average.average["0.weight"] == 3).all()
    average.swap()
    assert (model[0].weight == 3).all() and (average.average["0.weight"] == 1).all()


def test_only_what_is_trained_is_averaged():
    assert set(MovingAverage(a_model(0.0), 0.5).average) == {"0.weight", "1.weight", "1.bias"}


def test_without_a_decay_nothing_is_kept_and_the_live_weights_stay():
    model = a_model(1.0)
    average = MovingAverage(model, 0.0)
    average.update(1)
    average.swap()
    assert average.average == {} and (model[0].weight == 1).all()


def test_it_goes_on_from_what_was_stored():
    model = a_model(0.0)
    first, second = MovingAverage(model, 0.9), MovingAverage(model, 0.9)
    with torch.no_grad():
        model[0].weight.normal_()
    first.update(1)
    second.load({name: value.clone() for name, value in first.average.items()})
    for average in (first, second):
        average.update(2)
    assert all(torch.equal(first.average[name], second.average[name]) for name in first.average)
