"""Folded networks answer as they did, and the ones they were made from stay what they were."""

import pytest
import torch
from torch import nn

from syndiff.models.folding import fold_batch_norms
from syndiff.models.network import SegmentationNetwork
from syndiff.models.segmenter import initialise
from syndiff.models.settings import Kind, SegmenterSettings
from syndiff.models.tensors import trainable_state


def trained(kind: Kind) -> SegmentationNetwork:
    """A network whose batch statistics and weights of normalisation are not those of the beginning."""
    model = initialise(SegmenterSettings(kind=kind, image_size=64, pretrained=False), 0)
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                assert value is not None
                value.uniform_(low, high, generator=generator)
    return model.eval()


@pytest.mark.parametrize("kind", ["control", "diffusion"])
@torch.inference_mode()
def test_a_folded_network_answers_as_before(kind: Kind) -> None:
    model = trained(kind)
    before = {name: value.clone() for name, value in trainable_state(model).items()}
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    inputs = (image, torch.randn(2, *model.noise_shape(64, 64)))
    folded = fold_batch_norms(model)
    assert torch.allclose(folded(*inputs), model(*inputs), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    after = trainable_state(model)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_nothing_is_copied_where_nothing_can_be_folded() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.GroupNorm(1, 2))
    assert fold_batch_norms(model) is model


def test_what_only_looks_like_a_convolution_and_its_normalisation_stays() -> None:
    """An activation within the normalisation, as timm has it, and weights that are standardised at each pass."""

    class Activated(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input).relu()

    class Standardised(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return self._conv_forward(input, self.weight / self.weight.norm(), self.bias)

    class Twice(nn.Sequential):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return self[1](self[0](input) + 1)

    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 2, 1), Activated(2)),
        nn.Sequential(Standardised(2, 2, 1), nn.BatchNorm2d(2)),
        Twice(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)),
    ).train()
    model(torch.randn(4, 2, 5, 5))
    image = torch.randn(1, 2, 5, 5)
    assert torch.allclose(fold_batch_norms(model)(image), model(image), atol=1e-6)


def test_a_normalisation_that_follows_no_convolution_stays() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)).train()
    model(torch.rand(4, 2, 5, 5))
    image = torch.rand(1, 2, 5, 5)
    folded = fold_batch_norms(model)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded) == 2
    assert torch.equal(folded(image), model(image))
