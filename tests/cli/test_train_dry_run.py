"""`syndiff train --dry-run`: what would be trained, its memory, and what would be downloaded, without any of it."""

from pathlib import Path

import huggingface_hub.constants
import pytest
from diffusers import AutoencoderKL, UNet2DModel


@pytest.fixture
def dry_run(syndiff, phantom, tmp_path):
    split = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0

    def call(*arguments):
        out = tmp_path / "run"
        done = syndiff("train", "--data", phantom, "--split", split, "--out", out, "--dry-run", *arguments)
        assert not out.exists()
        return done

    return call


def test_compact(dry_run):
    done = dry_run()
    assert done.status == 0, done.err
    for words in ("1,400 steps of 8 images", "11,200 images seen", "1.05 M  trained", "ESTIMATE", "all local"):
        assert words in done.out


def test_a_dry_run_tells_its_split_once_and_keeps_none(syndiff, phantom, tmp_path, caplog):
    shown = syndiff("train", "--data", phantom, "--out", tmp_path / "run", "--dry-run")
    assert shown.status == 0 and "kept as" not in caplog.text and "test cases" not in caplog.text
    assert shown.out.count("12 training, 3 validation and 3 test cases") == 1, shown.out
    failed = syndiff("synthesize", "--data", phantom, "--out", tmp_path / "new", "--count", 1)
    assert failed.status == 2 and f"to be kept as {tmp_path / 'new' / 'split.json'}" in caplog.text
    assert not list(tmp_path.glob("run*")) and not (tmp_path / "new").exists()


def test_the_end_on_real_cases_is_shown_and_needs_painted_ones(dry_run, syndiff, phantom, tmp_path):
    end = ["--set", "training.real_share=0.4"]
    alone = dry_run(*end)
    assert alone.status == 2 and "no effect on `syndiff train without --synthetic`" in alone.err
    split, painted = tmp_path / "split.json", tmp_path / "painted"
    made = syndiff(
        *("synthesize", "--data", phantom, "--split", split, "--out", painted, "--count", 2),
        *("--inpainter", "copy_paste", "--gates", "off"),
    )
    assert made.status == 0, made.err
    done = dry_run("--synthetic", painted, *end)
    assert done.status == 0 and "the last 40% of the steps see real ones alone" in done.out


def test_paper_without_a_network(dry_run, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    done = dry_run("--preset", "paper")
    assert done.status == 0, done.err
    for words in (
        *("100,000 steps of 4 images at 256 pixels", "400,000 images seen", "294.97 M  trained", "83.65 M  frozen"),
        *("34.16 M  trained", "ESTIMATE: 7.7 GiB", "6.1 GiB on disk", "stabilityai/sd-vae-ft-mse at 31f26f"),
        "about 0.33 GB if it is KL-f8: will be DOWNLOADED",
    ):
        assert words in done.out
    assert not list((tmp_path).rglob("*.safetensors"))


def save_narrow(folder: Path) -> None:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    AutoencoderKL(**blocks, block_out_channels=(8,) * 4, norm_num_groups=4).save_pretrained(folder / "vae")
    UNet2DModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    ).save_pretrained(folder / "unet")


def test_local_weights_are_checked_before_anything_is_trained(dry_run, tmp_path):
    save_narrow(tmp_path)
    local = ["--preset", "paper", "--set", f"model.autoencoder={tmp_path / 'vae'}"]
    done = dry_run(*local)
    assert done.status == 0 and "all local: nothing will be downloaded" in done.out
    refused = dry_run(*local, f"model.denoiser_weights={tmp_path / 'unet'}")
    assert refused.status == 2 and "tensors match in name and shape" in refused.err
    other = dry_run("--preset", "paper", "--set", "model.autoencoder=compact")
    assert other.status == 2 and "of another kind" in other.err
