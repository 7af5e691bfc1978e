"""One contract for every autoencoder: shipped, KL, tiny and TAEF2; and what happens to weights that are wrong."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import syndiff.models
from syndiff.data.resize import resize_image
from syndiff.errors import SyndiffError
from syndiff.files import sha256
from syndiff.models.autoencoder import load_autoencoder
from syndiff.models.taef2 import Taef2

SHIPPED = {
    name: Path(syndiff.models.__file__).parent / "weights" / f"{name}_autoencoder.safetensors"
    for name in ("compact", "mask")
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def write_kl(folder: Path, levels: int = 4) -> None:
    from diffusers import AutoencoderKL

    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels,
        norm_num_groups=4,
    ).save_pretrained(folder)


def write_tiny(folder: Path) -> None:
    from diffusers import AutoencoderTiny

    sizes = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    blocks = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}
    AutoencoderTiny(**sizes, **blocks).save_pretrained(folder)


def write_taef2(folder: Path) -> None:
    """Random weights in the published layout: two pickled fp16 state dicts of flat sequences."""
    folder.mkdir()
    network = Taef2()
    for part in ("encoder", "decoder"):
        state = {name: value.half() for name, value in getattr(network, part).state_dict().items()}
        torch.save(state, folder / f"taef2_{part}.pth")


WRITERS = {"kl": write_kl, "tiny": write_tiny, "taef2": write_taef2}
LATENT_CHANNELS = {"compact": 16, "mask": 16, "kl": 4, "tiny": 4, "taef2": 32}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("autoencoders")
    torch.manual_seed(0)
    for name, write in WRITERS.items():
        write(root / name)
    return root


@pytest.fixture
def folder(folders, tmp_path):
    """A private copy, to be damaged."""
    return lambda name: Path(shutil.copytree(folders / name, tmp_path / name))


@pytest.mark.parametrize("name", LATENT_CHANNELS)
class TestAutoencoder:
    @pytest.fixture
    def autoencoder(self, name, folders):
        return load_autoencoder(name if name in SHIPPED else str(folders / name))

    @pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 64)])
    def test_shapes_of_images_and_masks(self, name, autoencoder, height, width):
        image = torch.rand(2, 3, height, width) * 2 - 1
        mask = (torch.rand(2, 1, height, width) > 0.5).float()
        grid = (2, LATENT_CHANNELS[name], height // 8, width // 8)
        assert autoencoder.latent_channels == LATENT_CHANNELS[name]
        latent = autoencoder.encode(image)
        assert latent.shape == grid and torch.equal(latent, autoencoder.encode(image))
        assert autoencoder.decode(latent).shape == image.shape
        assert autoencoder.encode_mask(mask).shape == grid
        assert autoencoder.decode_mask(latent).shape == mask.shape

    def test_a_mask_is_three_equal_channels_of_minus_and_plus_one(self, autoencoder):
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., 8:20, 4:30] = 1
        picture = torch.where(mask.bool(), 1.0, -1.0).repeat(1, 3, 1, 1)
        latent = autoencoder.encode(picture)
        torch.testing.assert_close(autoencoder.encode_mask(mask), latent)
        torch.testing.assert_close(autoencoder.decode_mask(latent)[:, 0], autoencoder.decode(latent).mean(1))

    def test_it_is_frozen_and_stays_in_evaluation_mode(self, autoencoder):
        whole = nn.Sequential(autoencoder).train()
        assert whole.training and not any(part.training for part in autoencoder.modules())
        assert not any(parameter.requires_grad for parameter in autoencoder.parameters())

    def test_gradients_flow_through_it_and_never_into_it(self, autoencoder):
        latent = autoencoder.encode(torch.rand(1, 3, 32, 32)).requires_grad_()
        autoencoder.decode_mask(latent).square().mean().backward()
        assert latent.grad.isfinite().all() and latent.grad.abs().sum() > 0
        assert all(parameter.grad is None for parameter in autoencoder.parameters())

    def test_it_knows_its_source_and_its_fingerprint(self, name, autoencoder, folders, tmp_path):
        assert autoencoder.source == (name if name in SHIPPED else str(folders / name))
        if name not in SHIPPED:
            WRITERS[name](tmp_path / "other")
            assert load_autoencoder(str(tmp_path / "other")).fingerprint != autoencoder.fingerprint


def ellipses(size: int) -> np.ndarray:
    """Six masks of one or two tilted ellipses, small and large."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size - 0.5
    masks = []
    for index in range(6):
        mask = np.zeros((size, size), bool)
        for _ in range(1 + index % 2):
            angle, (cx, cy), (a, b) = rng.uniform(0, np.pi), rng.uniform(-0.3, 0.3, 2), rng.uniform(0.06, 0.3, 2)
            u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
            v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
            mask |= (u / a) ** 2 + (v / b) ** 2 <= 1
        masks.append(mask)
    return np.stack(masks)[:, None]


def dice(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    axes = (1, 2, 3)
    return 2 * (first & second).sum(axes) / (first.sum(axes) + second.sum(axes))


@pytest.mark.parametrize("name", SHIPPED)
class TestShipped:
    def test_it_is_small_and_says_how_it_was_made(self, name):
        assert sum(path.stat().st_size for path in SHIPPED.values()) < 4_000_000
        described = json.loads(SHIPPED[name].with_suffix(".json").read_text())
        assert described["trained_by"] == "scripts/train_autoencoder.py"
        assert (Path(__file__).parents[2] / described["trained_by"]).is_file()
        assert described["config"]["latent_channels"] <= 16

    def test_it_keeps_masks(self, name):
        masks = torch.from_numpy(ellipses(256))
        autoencoder = load_autoencoder(name)
        with torch.inference_mode():
            latent = autoencoder.encode_mask(masks.float())
            kept = autoencoder.decode_mask(latent) > 0
        assert dice(kept, masks).min() >= 0.99
        assert 0.3 < latent.std() < 3  # near unit variance: the noise of the schedule is meant for that


def test_an_estimate_that_is_a_little_wrong_is_decoded_as_well():
    """What a denoiser estimates is never exact; the autoencoder of masks alone was trained for that."""
    masks, autoencoder = torch.from_numpy(ellipses(256)), load_autoencoder("mask")
    with torch.inference_mode():
        latent = autoencoder.encode_mask(masks.float())
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
        kept = autoencoder.decode_mask(latent + 0.2 * latent.std() * noise) > 0
    assert dice(kept, masks).min() >= 0.97


@pytest.fixture(scope="session")
def published_taef2():
    found = Path(__file__).parents[3] / "shared" / "weights" / "taef2"
    if not found.is_dir():
        pytest.skip(f"published weights are absent: {found}")
    return found


@pytest.mark.real
def test_published_taef2_reproduces_a_real_frame(published_taef2, cvc):
    frame = sorted((cvc / "images").iterdir())[0]
    picture = resize_image(np.array(Image.open(frame).convert("RGB")), 256)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    autoencoder = load_autoencoder(str(published_taef2))
    with torch.inference_mode():
        again = autoencoder.decode(autoencoder.encode(image)).clamp(-1, 1)
    psnr = 10 * torch.log10(4 / (again - image).square().mean())
    assert psnr > 30
    assert 0.5 < autoencoder.encode(image).std() < 2


def test_weights_with_the_attention_names_of_older_diffusers_load_the_same(folder, folders):
    """stabilityai/sd-vae-ft-mse itself is published under these names."""
    copy = folder("kl")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(copy / WEIGHTS)
    for new, old in names.items():
        state = {name.replace(new, old): value for name, value in state.items()}
    save_file(state, copy / WEIGHTS)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(load_autoencoder(str(copy)).encode(image), load_autoencoder(str(folders / "kl")).encode(image))


def no_config(folder):
    (folder / "config.json").unlink()


def no_weights(folder):
    (folder / WEIGHTS).unlink()


def another_class(folder):
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))


def cut_weights(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:3000])


def a_tensor_missing(folder):
    state = load_file(folder / WEIGHTS)
    del state["encoder.conv_in.bias"]
    save_file(state, folder / WEIGHTS)


def a_tensor_of_another_shape(folder):
    state = load_file(folder / WEIGHTS)
    state["encoder.conv_in.bias"] = torch.zeros(3)
    save_file(state, folder / WEIGHTS)


def three_levels(folder):
    shutil.rmtree(folder)
    write_kl(folder, levels=3)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_config, "config.json"),
        (no_weights, WEIGHTS),
        (another_class, "UNet2DModel"),
        (cut_weights, WEIGHTS),
        (a_tensor_missing, "encoder.conv_in.bias"),
        (a_tensor_of_another_shape, "encoder.conv_in.bias"),
        (three_levels, "downsampling is 4, expected 8"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_diffusers_folder_is_explained(damage, words, folder):
    copy = folder("kl")
    damage(copy)
    with pytest.raises(SyndiffError) as refusal:
        load_autoencoder(str(copy))
    assert words in str(refusal.value) and str(copy) in str(refusal.value)


def decoder_missing(folder):
    (folder / "taef2_decoder.pth").unlink()


def decoder_cut(folder):
    (folder / "taef2_decoder.pth").write_bytes((folder / "taef2_decoder.pth").read_bytes()[:3000])


def encoder_in_its_place(folder):
    shutil.copy(folder / "taef2_encoder.pth", folder / "taef2_decoder.pth")


@pytest.mark.parametrize("damage", [decoder_missing, decoder_cut, encoder_in_its_place])
def test_wrong_taef2_weights_are_explained(damage, folder):
    copy = folder("taef2")
    damage(copy)
    with pytest.raises(SyndiffError, match="taef2_decoder"):
        load_autoencoder(str(copy))


@pytest.mark.parametrize("source", ["/nowhere/kl-f8", "./kl-f8", "kl-f8", "a/b/c"])
def test_a_folder_that_is_not_there_is_named_with_the_choices(source):
    with pytest.raises(SyndiffError, match="nor an existing folder, nor a hub id") as refusal:
        load_autoencoder(source)
    assert source in str(refusal.value)


@pytest.mark.parametrize("source", ["compact", "folder"])
def test_a_revision_without_effect_is_refused(source, folders):
    with pytest.raises(SyndiffError, match="no effect"):
        load_autoencoder(str(folders / "tiny") if source == "folder" else source, revision="abc")


class TestHub:
    @pytest.fixture
    def cache(self, tmp_path, monkeypatch):
        """An empty cache of the model hub, on a machine without network."""
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        return tmp_path

    def test_without_network_the_sentence_says_what_to_do(self, cache):
        with pytest.raises(SyndiffError, match=r"stabilityai/sd-vae-ft-mse.*Without a network"):
            load_autoencoder("stabilityai/sd-vae-ft-mse")

    def test_what_the_cache_holds_is_used_offline_at_the_revision_asked_for(self, cache, folders, folder):
        """The cache is laid out as the hub's own client does: refs name commits, snapshots hold their files."""
        repository = cache / "models--somebody--tiny"
        commits = {"main": "a" * 40, "v2": "b" * 40}
        for name, commit in commits.items():
            (repository / "refs").mkdir(parents=True, exist_ok=True)
            (repository / "refs" / name).write_text(commit)
            shutil.copytree(folders / "tiny", repository / "snapshots" / commit)
        newer = repository / "snapshots" / commits["v2"] / WEIGHTS
        save_file({name: value + 1 for name, value in load_file(newer).items()}, newer)
        for revision, commit in ((None, commits["main"]), ("v2", commits["v2"])):
            loaded = load_autoencoder("somebody/tiny", revision=revision)
            assert loaded.source == "somebody/tiny"
            assert loaded.fingerprint == sha256(repository / "snapshots" / commit / WEIGHTS)
