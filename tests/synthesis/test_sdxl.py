"""Stable Diffusion inpainting through diffusers' real loading code, on whole pipelines of tiny random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from syndiff.data.dataset import DatasetFolder
from syndiff.errors import SyndiffError
from syndiff.synthesis.engine import synthesize
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.sdxl import Sdxl
from syndiff.synthesis.inpainters.sdxl_settings import SdxlSettings
from syndiff.synthesis.manifest import read_manifest
from tiny_pipelines import save_tiny_pipeline

pytest.importorskip("diffusers")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("sdxl") / "inpaint")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "damaged"))


def painter(folder: Path, **settings: object) -> Sdxl:
    chosen = {"steps": 2, "resolution": 64, "device": "cpu", **settings}
    return Sdxl(str(folder), settings=SdxlSettings(**chosen))  # type: ignore[arg-type]


def ask(seed: int, prompt: str = "a sessile polyp", size: tuple[int, int] = (48, 80)) -> InpaintRequest:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, bool)
    mask[10:30, 20:50] = True
    return InpaintRequest(image, mask, prompt, "cartoon", seed, np.zeros((*size, 3), np.float32))


def test_a_sample_is_the_same_in_any_batch(tiny: Path) -> None:
    """Up to rounding: a batched convolution may add in another order, so this is closeness, not equality."""
    requests = [ask(1), ask(2, "a small round sessile polyp", (60, 60)), ask(3)]
    sdxl = painter(tiny)
    together = sdxl.inpaint(requests)
    for request, painted in zip(requests, together, strict=True):
        assert painted.shape == request.image.shape and painted.dtype == np.float32
        assert np.isfinite(painted).all() and painted.min() >= 0 and painted.max() <= 1
        assert np.allclose(sdxl.inpaint([request])[0], painted, atol=1e-4)
    assert np.array_equal(sdxl.inpaint(requests)[0], together[0])
    assert np.abs(together[0] - together[2]).max() > 1e-3  # the same but for the seed


def test_the_prompt_is_heard(tiny: Path) -> None:
    sdxl = painter(tiny, guidance_scale=20)
    polyp, other = (sdxl.inpaint([ask(1, prompt)])[0] for prompt in ("a polyp", "zigzag fields"))
    assert not np.array_equal(polyp, other)


def test_a_plain_sdxl_model_paints_too(tmp_path: Path) -> None:
    painted = painter(save_tiny_pipeline(tmp_path / "base", 4), strength=0.6).inpaint([ask(1)])[0]
    assert painted.shape == (48, 80, 3) and np.isfinite(painted).all()


def test_it_makes_a_dataset_and_says_what_it_was_made_with(
    tiny: Path, make_dataset: Callable[..., DatasetFolder], tmp_path: Path
) -> None:
    dataset, out = make_dataset(4), tmp_path / "out"
    ids = [case.id for case in dataset.cases]
    sdxl = painter(tiny, batch_size=2)
    synthesize(dataset, ids, sdxl, out, count=3, progress=False)
    assert sdxl._pipeline.watermark is None
    for line in read_manifest(out / "manifest.jsonl"):
        assert line.backend["model"] == str(tiny) and line.backend["revision"] is None
        assert len(line.backend["hash"]) == 64
        assert line.settings["inpainter"]["watermark"] is False
        assert {"torch", "diffusers", "transformers"} <= line.versions.keys()
        image, label = DatasetFolder.open(out).load(DatasetFolder.open(out)[line.id])
        source, own = dataset.load(dataset[str(line.source_case)])
        changed = (image != source).any(axis=2)
        assert changed.any() and not changed[~label].any() and not changed[own].any()


def test_the_hash_follows_the_weights(tiny: Path, copy: Path) -> None:
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    assert painter(copy).describe()["hash"] == painter(tiny).describe()["hash"]
    weights = load_file(file)
    weights["conv_in.bias"] += 1
    save_file(weights, file, {"format": "pt"})
    assert painter(copy).describe()["hash"] != painter(tiny).describe()["hash"]


def test_float16_does_not_overflow_the_autoencoder(copy: Path) -> None:
    file = copy / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    largest = weights["decoder.conv_in.weight"].abs().max()
    weights["decoder.conv_in.weight"] *= 6e4 / largest  # sums exceed 65504, until a group norm tames them
    save_file(weights, file, {"format": "pt"})
    assert np.isfinite(painter(copy, dtype="float16").inpaint([ask(1)])[0]).all()


def test_bfloat16_paints(tiny: Path) -> None:
    assert np.isfinite(painter(tiny, dtype="bfloat16").inpaint([ask(1)])[0]).all()


def test_weights_that_went_wrong_come_back_as_nan_for_the_gate(copy: Path) -> None:
    file = copy / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["decoder.conv_out.bias"][:] = torch.nan
    save_file(weights, file, {"format": "pt"})
    assert np.isnan(painter(copy).inpaint([ask(1)])[0][ask(1).mask]).all()


def test_a_missing_folder_is_told_what_belongs_in_it(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"nowhere does not exist; .*model_index\.json.*hf download"):
        painter(tmp_path / "nowhere").describe()
    with pytest.raises(SyndiffError, match=r"is no pipeline folder: it has no model_index\.json"):
        painter(tmp_path).describe()


@pytest.mark.parametrize(
    "missing",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "text_encoder_2/model.safetensors",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_half_downloaded_folder_is_told_what_is_missing(copy: Path, missing: str) -> None:
    (copy / missing).unlink()
    with pytest.raises(SyndiffError, match=f"is incomplete: {missing} is missing"):
        painter(copy).describe()


def test_a_file_cut_short_is_named(copy: Path) -> None:
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(SyndiffError, match=r"unet/diffusion_pytorch_model\.safetensors is damaged or cut short"):
        painter(copy).describe()


def test_pickled_weights_are_not_read(copy: Path) -> None:
    (copy / "unet/diffusion_pytorch_model.safetensors").rename(copy / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(SyndiffError, match="pickled weights can run code"):
        painter(copy).describe()


def test_variants_and_shards_are_found_and_missed(copy: Path) -> None:
    unet = copy / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(SyndiffError, match=r"is `variant` set rightly"):
        painter(copy).describe()
    shard = "diffusion_pytorch_model-00001-of-00002.safetensors"
    (unet / "diffusion_pytorch_model.fp16.safetensors").rename(unet / shard)
    names = {"conv_in.bias": shard, "conv_out.bias": shard.replace("00001-of", "00002-of")}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(SyndiffError, match=r"00002-of-00002\.safetensors is missing"):
        painter(copy).describe()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("_class_name", "FluxPipeline", "names the pipeline FluxPipeline"),
        ("unet", ["my_module", "MyUNet"], "takes its unet from my_module"),
    ],
)
def test_other_pipelines_and_foreign_code_are_refused(copy: Path, key: str, value: object, message: str) -> None:
    content = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**content, key: value}))
    with pytest.raises(SyndiffError, match=message):
        painter(copy).describe()


def test_a_network_that_fits_no_weights_is_refused(copy: Path) -> None:
    config = json.loads((copy / "unet/config.json").read_text())
    (copy / "unet/config.json").write_text(json.dumps({**config, "block_out_channels": [16, 32]}))
    with pytest.raises(SyndiffError, match="could not be loaded as an inpainting pipeline"):
        painter(copy).inpaint([ask(1)])


def test_no_network_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SyndiffError, match="nobody/nothing is not on this machine and could not be fetched") as e:
        Sdxl("nobody/nothing").describe()
    assert "To work without network: Get a folder with `hf download" in str(e.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"strength": 0.0}, "strength is 0"),
        ({"strength": 0.3}, "leave no step"),
        ({"guidance_scale": -1.0}, "guidance_scale is -1"),
        ({"resolution": 100}, "multiple of 8"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"device": "abacus"}, "device is 'abacus'"),
    ],
)
def test_impossible_settings(tiny: Path, settings: dict, message: str) -> None:
    with pytest.raises(SyndiffError, match=message):
        painter(tiny, **settings).describe()
