"""One contract for vision encoders of every kind, in the segmenter and in the control, with random weights.

That their exports answer as torch does is in tests/inference/test_engines.py.
"""

import importlib.util
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.models.encoder import make_backbone
from syndiff.models.folding import fold_batch_norms
from syndiff.models.network import Batch
from syndiff.models.prediction import load_segmenter, model_description
from syndiff.models.pyramid import STRIDES, Backbone, FeaturePyramid
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import write_model
from syndiff.models.tensors import trainable_state
from syndiff.training.objective import SegmentationObjective
from syndiff.training.settings import TrainingSettings

if importlib.util.find_spec("timm") is None:
    pytest.skip("the extra timm is not installed", allow_module_level=True)
TINY = {"image_size": 64, "pretrained": False, "condition_channels": 8, "denoiser_channels": 8, "autoencoder": "mask"}
ENCODERS = (
    *(("efficientnet-lite1", "control"), ("timm:test_efficientnet", "control")),
    *((encoder, kind) for encoder in ("timm:pvt_v2_b0", "timm:test_vit") for kind in ("control", "diffusion")),
)
"""Our own and a network of convolutions that have all strides, a hierarchical transformer, and a plain one."""


def settings_for(encoder, kind="control"):
    return SegmenterSettings(**TINY, encoder=encoder, kind=kind)


def inputs(model, height, width):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, height, width, generator=generator)
    return image, torch.randn(2, *model.noise_shape(height, width), generator=generator)


def write(folder, settings, model):
    write_model(folder, trainable_state(model), model_description(settings, model, step=0, val_dice=None))
    return folder


@pytest.fixture(scope="module", params=ENCODERS, ids="-".join)
def made(request):
    """Settings and their network, whose batch statistics and normalisations are not those of the beginning."""
    settings = settings_for(*request.param)
    model = initialise(settings, 0)
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
    return settings, model.eval()


class TestEveryEncoder:
    def test_logits_have_the_size_of_any_image(self, made):
        _, model = made
        for height, width in ((64, 64), (96, 32)):
            with torch.inference_mode():
                logits = model(*inputs(model, height, width))
            assert logits.shape == (2, 1, height, width) and logits.isfinite().all()

    def test_it_comes_back_from_its_files_and_gives_the_same_bytes(self, made, tmp_path):
        settings, model = made
        write(tmp_path / "first", settings, model)
        again, described = load_segmenter(tmp_path / "first")
        with torch.inference_mode():
            assert torch.equal(model(*inputs(model, 64, 64)), again(*inputs(model, 64, 64)))
        write_model(tmp_path / "second", trainable_state(again), described)
        first, second = ((tmp_path / each / "model.safetensors").read_bytes() for each in ("first", "second"))
        assert first == second

    def test_folded_it_answers_as_before(self, made):
        _, model = made
        with torch.inference_mode():
            expected, found = (each(*inputs(model, 64, 64)) for each in (model, fold_batch_norms(model)))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("rate", [0.0, 0.5])
    def test_all_of_it_learns_but_for_what_is_frozen(self, made, rate):
        settings, _ = made
        model = initialise(settings, 0)
        objective = SegmentationObjective(model, TrainingSettings(backbone_lr_scale=rate)).train()
        before = {name: value.clone() for name, value in model.backbone_part.state_dict().items()}
        image, noise = inputs(model, 64, 64)
        sum(objective(Batch(image, (image[:, :1] > 0.5).float(), noise, torch.full((2,), 999))).values()).backward()
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert all(p.grad is not None for p in trained.values())
        torch.optim.SGD(trained.values(), lr=0.1).step()
        after = model.backbone_part.state_dict()
        moved = [name for name in before if not torch.equal(before[name], after[name])]
        assert bool(moved) == bool(rate)
        assert any("pyramid" in name for name in trained) == (min(model.backbone_part.strides) > 2)


@pytest.mark.parametrize(
    ("encoder", "strides", "any_size"),
    [
        ("timm:eva02_tiny_patch14_224", (14,), True),  # patches that divide no image
        ("timm:test_coatnet", STRIDES, False),  # made for one size
        ("timm:test_mambaout", (4, 8, 16, 32), True),  # channels last
    ],
)
def test_networks_of_every_habit_serve(encoder, strides, any_size):
    with torch.device("meta"):
        backbone = make_backbone(settings_for(encoder))
        check_pyramid(backbone)
    assert backbone.strides == strides and backbone.shapes.any_size == any_size


class Grids(Backbone):
    """Maps of any strides, rounded up, as patches are."""

    def __init__(self, *strides):
        super().__init__()
        self.strides, self.channels = strides, tuple(8 + stride for stride in strides)

    def forward(self, image):
        return [
            F.interpolate(image[:, :1], size=[-(-side // stride) for side in image.shape[-2:]]).repeat(
                1, channels, 1, 1
            )
            for stride, channels in zip(self.strides, self.channels, strict=True)
        ]


def check_pyramid(backbone):
    """The five maps have the announced channels, and the size of their strides."""
    pyramid = FeaturePyramid(backbone)
    for height, width in ((64, 64), (96, 32)):
        image = torch.zeros(2, 3, height, width)
        assert [tuple(x.shape) for x in pyramid(image, backbone(image))] == [
            (2, channels, height // stride, width // stride)
            for channels, stride in zip(pyramid.channels, STRIDES, strict=True)
        ]
    return pyramid


@pytest.mark.parametrize("strides", [(8,), (14,), (32,), (4, 8, 16), (16, 32, 64), (1, 2, 4, 8, 16, 32)])
def test_any_grids_become_a_pyramid(strides):
    check_pyramid(Grids(*strides))


def test_maps_that_are_there_are_passed_on_and_nothing_is_added():
    backbone = Grids(*STRIDES)
    pyramid, image = check_pyramid(backbone), torch.rand(1, 3, 32, 32)
    assert not pyramid.state_dict() and all(map(torch.equal, pyramid(image, backbone(image)), backbone(image)))


def test_images_are_normalised_as_the_network_was_taught():
    backbone = make_backbone(settings_for("timm:test_vit"))
    seen = []
    backbone.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    backbone(torch.full((1, 3, 64, 64), 0.75))
    assert torch.allclose(seen[0], torch.full((1, 3, 64, 64), 0.5))  # its mean and deviation are .5


def test_a_model_of_before_timm_loads(tmp_path):
    settings = settings_for("efficientnet-lite0")
    model = initialise(settings, 0).eval()
    path = write(tmp_path, settings, model) / "model.json"
    described = read_json(path)
    del described["model"]["encoder_weights"], described["model"]["encoder_weights_revision"]
    path.write_text(json.dumps(described))
    again, _ = load_segmenter(tmp_path)
    assert all(
        np.array_equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"encoder": "efficientnet-lite3"}, r"did you mean 'efficientnet-lite\d'"),
        ({"encoder": "pvt_v2_b2"}, "a network of timm, such as timm:pvt_v2_b2"),
        ({"encoder": "timm:"}, "timm:pvt_v2_b2"),
        ({"encoder": "timm:../weights"}, "timm:pvt_v2_b2"),
        (
            {"encoder_weights": "/weights"},
            "encoder_weights: /weights has no effect with the encoder efficientnet-lite0",
        ),
        ({"encoder": "timm:test_vit", "encoder_weights": "/w", "pretrained": False}, "no effect with model.pretrained"),
        ({"kind": "control", "encoder_weights_revision": "main"}, "encoder_weights_revision: main has no effect"),
    ],
)
def test_an_impossible_encoder_is_refused_before_timm_is_asked(wrong, words):
    with pytest.raises(SyndiffError, match=words):
        SegmenterSettings(**wrong)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("timm:pvt_v2_b22", "has no network 'pvt_v2_b22' .did you mean 'pvt_v2_b2'.*begin with pvt: pvt_v2_b0"),
        ("timm:test_vit.in99k", "test_vit has no weights 'in99k'; it has r160_in1k"),
        ("timm:crossvit_tiny_240", "crossvit_tiny_240 cannot be used at image_size 64"),
    ],
)
def test_a_network_that_timm_does_not_have_is_answered_with_one_that_it_has(encoder, words):
    with pytest.raises(SyndiffError, match=words):
        make_backbone(settings_for(encoder))
