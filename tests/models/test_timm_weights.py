"""Weights of timm's networks: from a folder, a file or the hub, all of them, or refused with the mend."""

import importlib.util
import json
import sys

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

from syndiff.errors import SyndiffError
from syndiff.models.encoder import backbone_source, make_backbone
from syndiff.models.prediction import load_segmenter, model_description
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import write_model
from syndiff.models.tensors import trainable_state
from syndiff.models.timm_library import import_timm

if importlib.util.find_spec("timm") is None:
    pytest.skip("the extra timm is not installed", allow_module_level=True)


def settings_for(name, weights="", **more):
    return SegmenterSettings(
        kind="control", encoder=f"timm:{name}", encoder_weights=str(weights), image_size=64, **more
    )


def save(folder, name, **config):
    """A whole network as timm's users keep one, classifier and all; returns its state."""
    torch.manual_seed(7)
    model = import_timm().create_model(name)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": name, **config}))
    return state


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("place", ["", "model.safetensors"], ids=["folder", "file"])
def test_every_weight_of_the_network_comes_from_the_file(name, place, tmp_path):
    published = save(tmp_path, name)
    settings = settings_for(name, tmp_path / place)
    assert backbone_source(settings).source == str(tmp_path / place)
    found = make_backbone(settings).network.state_dict()
    resampled = {key for key in found if key.endswith("pos_embed")}  # for an image of another size
    for key in found.keys() - resampled:
        assert any(torch.equal(found[key], value) for value in published.values()), key
    assert bool(resampled) == (name == "test_vit")


def test_the_normalisation_beside_the_weights_counts_and_is_kept_with_the_model(tmp_path):
    told = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "num_classes": 1000}
    save(tmp_path / "weights", "test_resnet", pretrained_cfg=told)
    settings = settings_for("test_resnet", tmp_path / "weights")
    model = initialise(settings, 0)
    write_model(tmp_path / "model", trainable_state(model), model_description(settings, model, step=0, val_dice=None))
    (tmp_path / "weights" / "model.safetensors").unlink()  # a trained model needs them no more
    backbone = load_segmenter(tmp_path / "model")[0].backbone_part
    assert torch.allclose(backbone.mean.flatten(), torch.tensor(told["mean"]))
    assert torch.allclose(backbone.deviation.flatten(), torch.tensor(told["std"]))


def without(key):
    def spoil(folder):
        state = save(folder, "test_resnet")
        del state[key]
        save_file(state, folder / "model.safetensors")

    return spoil


def a_pickle(folder):
    torch.save(save(folder, "test_resnet"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def no_numbers(folder):
    state = save(folder, "test_resnet")
    state["conv1.0.weight" if "conv1.0.weight" in state else next(iter(state))].fill_(torch.nan)
    save_file(state, folder / "model.safetensors")


def a_cut_file(folder):
    save(folder, "test_resnet")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def configured(**config):
    return lambda folder: save(folder, "test_resnet", **config)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: None, "neither an existing file of safetensors, nor an existing folder, nor a hub id"),
        (a_pickle, "has no model.safetensors .no safetensors there.*pickled weights can run code.*save_file"),
        (no_numbers, "no finite numbers"),
        (a_cut_file, "is damaged"),
        (without("layer1.0.conv1.weight"), "does not fit timm's test_resnet.*layer1.0.conv1.weight"),
        (configured(architecture="test_vit"), "Set model.encoder=timm:test_vit"),
        (configured(model_args={"act_layer": "gelu"}), "was changed .model_args: act_layer"),
        (configured(pretrained_cfg={"mean": 0.5}), "pretrained_cfg.mean is 0.5, expected three numbers"),
    ],
)
def test_weights_that_cannot_serve_are_refused_before_a_training(spoil, words, tmp_path):
    spoil(tmp_path / "weights")
    with pytest.raises(SyndiffError, match=words):
        backbone_source(settings_for("test_resnet", tmp_path / "weights"))


def test_weights_that_timm_would_load_in_part_are_refused(tmp_path):
    """Of its EfficientNets timm only logs that weights are missing."""
    state = save(tmp_path, "test_efficientnet")
    del state["blocks.1.0.conv_exp.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(SyndiffError, match=r"does not fit timm's test_efficientnet.*blocks.1.0.conv_exp.weight"):
        backbone_source(settings_for("test_efficientnet", tmp_path))


def test_a_pickled_file_and_the_revision_of_a_file_are_refused(tmp_path):
    save(tmp_path, "test_resnet")
    (tmp_path / "model.pth").write_bytes(b"pickle")
    with pytest.raises(SyndiffError, match=r"model.pth is no file of safetensors"):
        backbone_source(settings_for("test_resnet", tmp_path / "model.pth"))
    with pytest.raises(SyndiffError, match="encoder_weights_revision: 'main' has no effect with the file"):
        file = tmp_path / "model.safetensors"
        backbone_source(settings_for("test_resnet", file, encoder_weights_revision="main"))


def test_without_a_network_it_is_said_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    settings = settings_for("test_vit")
    source = backbone_source(settings)
    assert source.fetched and source.source == "timm/test_vit.r160_in1k"
    with pytest.raises(SyndiffError, match=r"^model.encoder_weights .*hf download timm/test_vit.r160_in1k --local-dir"):
        make_backbone(settings)


def test_timm_is_asked_for_only_where_it_is_needed(monkeypatch):
    import_timm.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    make_backbone(SegmenterSettings(pretrained=False))
    with pytest.raises(SyndiffError, match=r"pip install 'syndiff\[timm\]'"):
        make_backbone(settings_for("test_vit", pretrained=False))
    import_timm.cache_clear()


def test_no_stand_in_for_torchvision_is_left() -> None:
    import_timm()
    here = importlib.util.find_spec("torchvision") is not None
    assert here or not [name for name in sys.modules if name.startswith("torchvision")]
