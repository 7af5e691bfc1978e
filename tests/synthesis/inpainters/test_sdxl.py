"""Stable Diffusion inpainting through diffusers' real loading code, on whole pipelines of tiny random weights."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from syndiff.config.loading import load_settings
from syndiff.data.dataset import Dataset
from syndiff.data.readers import to_unit
from syndiff.errors import SyndiffError
from syndiff.files import sha256
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.sdxl import Sdxl
from syndiff.synthesis.inpainters.settings import SdxlSettings
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.settings import SynthesisSettings
from tiny_pipelines import save_tiny_pipeline

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("transformers")

PLAIN = SynthesisSettings()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("sdxl") / "inpaint")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "damaged"))


def inpainter(folder: Path, **settings: object) -> Sdxl:
    chosen = {"steps": 2, "resolution": 64, "device": "cpu", **settings}
    return Sdxl(str(folder), settings=SdxlSettings(**chosen))  # type: ignore[arg-type]


def short_grammar(folder: Path, end: str = "") -> Grammar:
    """Prompts that fit the tiny tokenizer, which reads letter by letter, unless `end` makes them longer."""
    (folder / "short.yaml").write_text(
        f"{{subject: polyp, templates: ['a {{size}} polyp{end}'], "
        "caption: 'a {size} polyp', background: wall, slots: "
        "{size: {kind: mask, measure: area, words: [{word: small, below: 0.1}, big]}}}"
    )
    return Grammar.load(str(folder / "short.yaml"))


def ask(seed: int, prompt: str = "a sessile polyp", size: tuple[int, int] = (48, 80)) -> InpaintRequest:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, bool)
    mask[10:30, 20:50] = True
    return InpaintRequest(image, mask, mask, prompt, "cartoon", seed, lambda: np.zeros((*size, 3), np.float32))


def test_a_sample_is_the_same_in_any_batch(tiny: Path) -> None:
    """Up to rounding: a batched convolution may add in another order, so this is closeness, not equality."""
    requests = [ask(1), ask(2, "a small round sessile polyp", (60, 60)), ask(3)]
    sdxl = inpainter(tiny)
    together = sdxl.inpaint(requests)
    for request, painted in zip(requests, together, strict=True):
        assert painted.shape == request.image.shape and painted.dtype == np.float32
        assert np.isfinite(painted).all() and painted.min() >= 0 and painted.max() <= 1
        assert np.allclose(sdxl.inpaint([request])[0], painted, atol=1e-4)
    assert np.array_equal(sdxl.inpaint(requests)[0], together[0])
    assert np.abs(together[0] - together[2]).max() > 1e-3  # the same but for the seed


def test_the_prompt_is_heard(tiny: Path) -> None:
    sdxl = inpainter(tiny, guidance_scale=20)
    polyp, other = (sdxl.inpaint([ask(1, prompt)])[0] for prompt in ("a polyp", "zigzag fields"))
    assert not np.array_equal(polyp, other)


def test_a_prompt_that_would_be_cut_is_refused_before_anything_is_painted(
    tiny: Path, make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    """The tiny tokenizer reads letters, but "po" and "ly", one by one: 254 of them and the two marks."""
    sdxl = inpainter(tiny)
    fits, cut = " ".join(["zz"] * 127), "a a " + " ".join(["zz"] * 125) + " ok polyp with a tail"
    sdxl.check_prompt(fits)
    assert "_pipeline" not in vars(sdxl)  # gigabytes that the check does without
    with pytest.raises(SyndiffError, match="would not see 'polyp with a tail' at the end") as error:
        sdxl.check_prompt(cut)
    assert "266 tokens but the text encoder reads 254" in str(error.value)
    with pytest.raises(SyndiffError, match="would not see"):
        sdxl.inpaint([ask(1, cut)])

    dataset, grammar = make_dataset(4), short_grammar(tmp_path, " zigzag" * 50)
    ids = [case.id for case in dataset.cases]
    with pytest.raises(SyndiffError, match=r"--set synthesis\.prompts"):
        synthesize_cases(dataset, ids, sdxl, tmp_path / "out", PLAIN, count=1, grammar=grammar, progress=False)
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_plain_sdxl_model_paints_too(tmp_path: Path) -> None:
    painted = inpainter(save_tiny_pipeline(tmp_path / "base", 4), strength=0.6).inpaint([ask(1)])[0]
    assert painted.shape == (48, 80, 3) and np.isfinite(painted).all()


def test_it_makes_a_dataset_and_says_what_it_was_made_with(
    tiny: Path, make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset, out = make_dataset(4), tmp_path / "out"
    ids = [case.id for case in dataset.cases]
    sdxl = inpainter(tiny, batch_size=2)
    synthesize_cases(dataset, ids, sdxl, out, PLAIN, count=3, grammar=short_grammar(tmp_path), progress=False)
    assert sdxl._pipeline.watermark is None
    for line in read_manifest(out / "manifest.jsonl"):
        assert line.backend["model"] == str(tiny) and line.backend["revision"] is None
        assert len(line.backend["hash"]) == 64
        assert line.settings["inpainter"]["watermark"] is False
        assert {"torch", "diffusers", "transformers"} <= line.versions.keys()
        image, label = Dataset.open(out).load(Dataset.open(out)[line.id])
        source, own = dataset.load(dataset[str(line.source_case)])
        changed = (image != source).any(axis=2)
        assert changed.any() and not changed[~label].any() and not changed[own].any()


def test_the_pipeline_is_given_a_binary_mask(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would cut a soft one at one half by itself; what is softened is the finished picture, when it is put back."""
    sdxl, given = inpainter(tiny), []
    call = type(sdxl._pipeline).__call__

    def spy(self, **inputs):
        given.append(inputs["mask_image"])
        return call(self, **inputs)

    monkeypatch.setattr(type(sdxl._pipeline), "__call__", spy)
    sdxl.inpaint([ask(1)])
    assert set(given[0].unique().tolist()) == {0.0, 1.0}


def test_no_watermark_where_its_package_is_installed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl_inpaint as theirs

    monkeypatch.setattr(theirs, "is_invisible_watermark_available", lambda: True)
    monkeypatch.setattr(theirs, "StableDiffusionXLWatermarker", object, raising=False)
    assert theirs.StableDiffusionXLInpaintPipeline.from_pretrained(tiny).watermark is not None  # what others get
    assert inpainter(tiny)._pipeline.watermark is None


def test_the_hash_follows_the_weights(tiny: Path, copy: Path) -> None:
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    assert inpainter(copy).describe()["hash"] == inpainter(tiny).describe()["hash"]
    weights = load_file(file)
    weights["conv_in.bias"] += 1
    save_file(weights, file, {"format": "pt"})
    assert inpainter(copy).describe()["hash"] != inpainter(tiny).describe()["hash"]


def test_float16_does_not_overflow_the_autoencoder(copy: Path) -> None:
    file = copy / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    largest = weights["decoder.conv_in.weight"].abs().max()
    weights["decoder.conv_in.weight"] *= 6e4 / largest  # sums exceed 65504, until a group norm tames them
    save_file(weights, file, {"format": "pt"})
    assert np.isfinite(inpainter(copy, dtype="float16").inpaint([ask(1)])[0]).all()


def test_bfloat16_paints(tiny: Path) -> None:
    assert np.isfinite(inpainter(tiny, dtype="bfloat16").inpaint([ask(1)])[0]).all()


def test_weights_that_went_wrong_come_back_as_nan_for_the_gate(copy: Path) -> None:
    """What is not finite in the files is refused; what only the computation makes so is for the gate."""
    file = copy / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["decoder.conv_norm_out.weight"][:] = 3e38  # overflows, and SiLU makes NaN of minus infinity
    save_file(weights, file, {"format": "pt"})
    assert np.isnan(inpainter(copy).inpaint([ask(1)])[0][ask(1).mask]).all()
    weights["decoder.conv_out.bias"][:] = torch.nan
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(SyndiffError, match=r"damaged/vae is damaged: decoder\.conv_out\.bias"):
        inpainter(copy).inpaint([ask(1)])


def test_a_missing_or_empty_folder_is_told_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"nowhere' is neither an existing folder, nor a hub id like 'diffusers/"):
        inpainter(tmp_path / "nowhere").describe()
    with pytest.raises(SyndiffError, match=r"is no pipeline folder: it has no model_index\.json"):
        inpainter(tmp_path).describe()


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
        inpainter(copy).describe()


def test_a_file_cut_short_is_named(copy: Path) -> None:
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(SyndiffError, match=r"unet/diffusion_pytorch_model\.safetensors is damaged or cut short"):
        inpainter(copy).describe()


def test_pickled_weights_are_not_read(copy: Path) -> None:
    (copy / "unet/diffusion_pytorch_model.safetensors").rename(copy / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(SyndiffError, match="pickled weights can run code"):
        inpainter(copy).describe()


def test_variants_and_shards_are_found_and_missed(copy: Path) -> None:
    unet = copy / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(SyndiffError, match=r"is `variant` set rightly"):
        inpainter(copy).describe()
    shard = "diffusion_pytorch_model-00001-of-00002.safetensors"
    (unet / "diffusion_pytorch_model.fp16.safetensors").rename(unet / shard)
    names = {"conv_in.bias": shard, "conv_out.bias": shard.replace("00001-of", "00002-of")}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(SyndiffError, match=r"00002-of-00002\.safetensors is missing"):
        inpainter(copy).describe()


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
        inpainter(copy).describe()


def test_a_network_that_fits_no_weights_is_refused(copy: Path) -> None:
    config = json.loads((copy / "unet/config.json").read_text())
    (copy / "unet/config.json").write_text(json.dumps({**config, "block_out_channels": [16, 32]}))
    with pytest.raises(SyndiffError, match="could not be loaded as an inpainting pipeline"):
        inpainter(copy).inpaint([ask(1)])


def test_no_network_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SyndiffError, match="nobody/nothing is not on this machine and could not be fetched") as e:
        Sdxl("nobody/nothing").describe()
    assert "get it with `hf download nobody/nothing --local-dir DIR`" in str(e.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"strength": 0.0}, "strength is 0"),
        ({"strength": 0.3}, "leave no step"),
        ({"guidance_scale": -1.0}, "guidance_scale is -1"),
        ({"resolution": 100}, "multiple of 8"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"context": 0.5}, "context is 0.5"),
        ({"lora_weights": (1.0,)}, "one number for each of the 0 loras"),
        ({"strength": 1, "start": "donor"}, "no effect at strength 1"),
        ({"context": 0, "min_crop": 64}, "no effect with context 0"),
        ({"vae_slicing": True}, "no effect with batch_size 1"),
        ({"device": "abacus"}, "device is 'abacus'"),
    ],
)
def test_impossible_settings(tiny: Path, settings: dict, message: str) -> None:
    with pytest.raises(SyndiffError, match=message):
        inpainter(tiny, **settings).describe()


@pytest.fixture(scope="module")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 1.5's layout: one text encoder, no pooled text, its own scheduler."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("sd") / "inpaint", sdxl=False)


def test_stable_diffusion_1_paints_too_alike_in_any_batch(tiny_sd: Path) -> None:
    requests = [ask(1), ask(2, "a red polyp", (60, 60))]
    sd = inpainter(tiny_sd)
    assert len(sd.describe()["hash"]) == 64
    for request, painted in zip(requests, sd.inpaint(requests), strict=True):
        assert painted.shape == request.image.shape and np.isfinite(painted).all()
        assert np.abs(painted - to_unit(request.image))[request.mask].mean() > 0.01
        assert np.allclose(sd.inpaint([request])[0], painted, atol=1e-4)


def test_a_plain_stable_diffusion_1_paints_and_a_checker_is_not_loaded(tmp_path: Path) -> None:
    folder = save_tiny_pipeline(tmp_path / "base", 4, sdxl=False)
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]  # without its weights
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert np.isfinite(inpainter(folder).inpaint([ask(1)])[0]).all()


def test_a_small_lesion_is_painted_in_a_crop_and_nothing_changes_around_it(tiny: Path) -> None:
    request = ask(1, size=(300, 400))  # the mask is 20 x 30 pixels
    frame = to_unit(request.image)
    whole = inpainter(tiny, context=0).inpaint([request])[0]
    crop = inpainter(tiny, context=2, min_crop=32).inpaint([request])[0]
    changed = np.argwhere((crop != frame).any(axis=2))
    # 2 x 30 pixels, centred on rows 10 to 29 and columns 20 to 49 as far as the frame allows
    assert changed.min(axis=0).tolist() == [0, 5] and changed.max(axis=0).tolist() == [59, 64]
    assert (whole[200:] != frame[200:]).any()


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpmpp_2m", "unipc"])
def test_schedulers(tiny: Path, tiny_sd: Path, scheduler: str) -> None:
    for folder in (tiny, tiny_sd):
        sdxl = inpainter(folder, scheduler=scheduler)
        assert np.isfinite(sdxl.inpaint([ask(1)])[0]).all()
        assert type(sdxl._pipeline.scheduler) is not type(inpainter(folder)._pipeline.scheduler) or scheduler == "euler"


def test_the_strength_follows_the_size(tiny: Path) -> None:
    settings = SdxlSettings()
    assert [settings.strength_of(share) for share in (0.0, 0.015, 0.03, 0.5)] == [0.5, 0.7, 0.9, 0.9]
    assert SdxlSettings(strength=0.35).strength_of(0.5) == 0.35
    # a batch of several sizes comes back in order, each as it is alone
    sizes = [(48, 80), (300, 400), (48, 80), (130, 130)]
    requests = [ask(seed, size=size) for seed, size in enumerate(sizes)]
    sdxl = inpainter(tiny, steps=10)
    for request, painted in zip(requests, sdxl.inpaint(requests), strict=True):
        assert np.allclose(sdxl.inpaint([request])[0], painted, atol=1e-3)


def test_a_small_lesion_starts_from_the_donor_and_a_large_one_from_the_frame(tiny: Path) -> None:
    def differs(size: tuple[int, int], **settings: object) -> bool:
        plain = ask(1, size=size)
        other = dataclasses.replace(plain, donor=lambda: np.random.default_rng(1).random((*size, 3), np.float32))
        one, two = inpainter(tiny, **settings).inpaint([plain, other])
        return not np.allclose(one, two, atol=1e-3)

    small, large = (300, 400), (48, 80)
    assert differs(small) and not differs(large)
    assert differs(large, start="donor", strength=0.5) and not differs(small, start="frame", strength=0.5)


def test_tiles_split_the_autoencoder_and_slices_change_nothing(tiny: Path) -> None:
    requests = [ask(1), ask(2)]
    plain, sliced, tiled = (
        inpainter(tiny, batch_size=2, **settings).inpaint(requests)
        for settings in ({}, {"vae_slicing": True}, {"vae_tiling": True})
    )
    assert np.allclose(plain, sliced, atol=1e-4)
    assert np.abs(np.stack(plain) - np.stack(tiled)).max() > 1e-4


def save_lora(model: Path, path: Path, seed: int = 0) -> Path:
    """A LoRA of random factors for the U-Net in `model`, written by diffusers."""
    from diffusers import StableDiffusionXLInpaintPipeline, UNet2DConditionModel
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    torch.manual_seed(seed)
    unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = {name: 3 * value for name, value in get_peft_model_state_dict(unet).items()}
    StableDiffusionXLInpaintPipeline.save_lora_weights(path, unet_lora_layers=layers)
    return path


def test_a_lora_changes_the_picture_and_is_named_with_its_hash(tiny: Path, tmp_path: Path) -> None:
    lora = save_lora(tiny, tmp_path / "lora")
    plain = inpainter(tiny)
    with_lora, without = inpainter(tiny, loras=(str(lora),)), inpainter(tiny, loras=(str(lora),), lora_weights=(0.0,))
    expected = plain.inpaint([ask(1)])[0]
    assert np.abs(with_lora.inpaint([ask(1)])[0] - expected).max() > 1e-3
    assert np.allclose(without.inpaint([ask(1)])[0], expected, atol=1e-5)
    (described,) = with_lora.describe()["settings"]["loras"]
    digest = sha256(lora / "pytorch_lora_weights.safetensors")
    assert described == {"file": str(lora), "weight": 1.0, "hash": digest}
    assert plain.describe()["settings"]["loras"] == [] and "peft" in with_lora.capabilities.libraries


def test_two_loras_work_together(tiny: Path, tmp_path: Path) -> None:
    one, two = (str(save_lora(tiny, tmp_path / f"lora{seed}", seed)) for seed in (0, 1))
    pictures = [inpainter(tiny, loras=loras).inpaint([ask(1)])[0] for loras in ((one,), (two,), (one, two))]
    assert all(np.abs(pictures[2] - picture).max() > 1e-3 for picture in pictures[:2])


def test_a_lora_of_another_architecture_is_refused(tiny: Path, tiny_sd: Path, tmp_path: Path) -> None:
    wider = save_tiny_pipeline(tmp_path / "wider", width=32)
    for model, owner in ((tiny, wider), (tiny_sd, tiny), (tiny, tiny_sd)):
        lora = save_lora(owner, tmp_path / f"{model.parent.name}-{owner.parent.name}")
        with pytest.raises(SyndiffError, match=r"The LoRA .* does not fit .* made for another architecture"):
            inpainter(model, loras=(str(lora),)).inpaint([ask(1)])


def test_a_lora_with_layers_that_are_not_there_is_refused(tiny: Path, tmp_path: Path) -> None:
    """diffusers itself would only warn and paint without them."""
    file = save_lora(tiny, tmp_path / "lora") / "pytorch_lora_weights.safetensors"
    weights = load_file(file)
    weights |= {name.replace("attn1", "attn9"): value.clone() for name, value in weights.items()}
    save_file(weights, file)
    with pytest.raises(SyndiffError, match="made for another architecture"):
        inpainter(tiny, loras=(str(file),)).inpaint([ask(1)])


def test_a_lora_that_is_missing_damaged_pickled_or_none(tiny: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"12345678")
    none = tmp_path / "none.safetensors"
    save_file({"weight": torch.zeros(1)}, none)
    pickled = tmp_path / "lora.bin"
    pickled.touch()
    for path, message in (
        (tmp_path / "nowhere.safetensors", r"nowhere\.safetensors does not exist"),
        (empty, r"pytorch_lora_weights\.safetensors does not exist"),
        (cut, "damaged or cut short"),
        (none, "holds no LoRA"),
        (pickled, "pickled weights can run code"),
    ):
        with pytest.raises(SyndiffError, match=message):
            inpainter(tiny, loras=(str(path),)).describe()


def test_a_folder_has_no_revision(tiny: Path) -> None:
    with pytest.raises(SyndiffError, match="revision 'main' has no effect"):
        Sdxl(str(tiny), revision="main").describe()


def test_offloading_needs_a_gpu(tiny: Path) -> None:
    with pytest.raises(SyndiffError, match="offload is model and has no effect on the CPU"):
        inpainter(tiny, offload="model").inpaint([ask(1)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sdxl.strength=often", r"sdxl\.strength is 'often'"),
        ("sdxl.strength=1.5", r"strength is 1\.5, expected"),
        ("sdxl.scheduler=magic", "expected one of model, ddim"),
        ("sdxl.loras=[a.safetensors, a.safetensors]", "each file once"),
    ],
)
def test_settings_are_reached_from_the_command_line_and_checked(given: str, message: str) -> None:
    chosen = ["synthesis.inpainter=sdxl", "sdxl.strength=0.4", "sdxl.loras=[a.safetensors]", "sdxl.lora_weights=[0.5]"]
    settings = load_settings("compact", overrides=chosen).sdxl
    assert (settings.strength, settings.loras, settings.lora_weights) == (0.4, ("a.safetensors",), (0.5,))
    with pytest.raises(SyndiffError, match=message):
        load_settings("compact", overrides=["synthesis.inpainter=sdxl", given])
    with pytest.raises(SyndiffError, match=r"setting sdxl\.steps has no effect with the inpainter copy_paste"):
        load_settings("compact", overrides=["synthesis.inpainter=copy_paste", "sdxl.steps=5"])
