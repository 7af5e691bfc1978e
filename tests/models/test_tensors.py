"""Weights from wherever: whole, in floating point and finite, or refused by name before anything is computed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from syndiff.errors import SyndiffError
from syndiff.files import sha256, write_json
from syndiff.models.autoencoder import load_autoencoder
from syndiff.models.efficientnet import EfficientNetLite0, load_imagenet_weights
from syndiff.models.lora import LORA_FILE, LoraFile, find_lora, load_loras
from syndiff.models.tensors import check_file, check_loaded, read_state_dict, read_tensors, write_tensors

GOOD = {"a.weight": torch.ones(2), "a.num_batches_tracked": torch.tensor(3)}
BAD = {
    "no finite numbers": {"a.weight": torch.tensor([1.0, torch.inf])},
    "stored as int8, expected floating point": {"a.weight": torch.ones(2, dtype=torch.int8)},
    "stored as float8_e4m3fn": {"a.weight": torch.ones(2).to(torch.float8_e4m3fn)},
}


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("words", [None, *BAD])
def test_what_is_read_is_judged(tmp_path: Path, suffix: str, words: str | None) -> None:
    path = tmp_path / f"x.{suffix}"
    tensors = {**GOOD, **BAD.get(words or "", {})}
    (save_file if suffix == "safetensors" else torch.save)(tensors, path)
    if words is None:
        assert read_state_dict(path).keys() == GOOD.keys()
    else:
        with pytest.raises(SyndiffError, match=rf"x\.{suffix}.*a\.weight") as refused:
            read_state_dict(path)
        assert words in str(refused.value)


def test_the_hash_of_what_was_written_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    noted = write_tensors(path, GOOD)
    assert noted == sha256(path) and read_tensors(path, sha256=noted).keys() == GOOD.keys()
    write_tensors(path, {**GOOD, "a.weight": torch.zeros(2)})
    with pytest.raises(SyndiffError, match=r"x\.safetensors is damaged: its SHA-256"):
        read_tensors(path, sha256=noted)


def test_a_header_tells_the_number_format(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({**GOOD, "text.position_ids": torch.arange(4)}, path)
    check_file(path)
    save_file({"a.weight": torch.ones(2, dtype=torch.int8)}, path)
    with pytest.raises(SyndiffError, match=r"x\.safetensors: a\.weight is stored as I8"):
        check_file(path)


def test_what_a_library_left_out_is_refused(tmp_path: Path) -> None:
    layer, whole = nn.Linear(2, 2), {"missing_keys": [], "unexpected_keys": []}
    check_loaded(tmp_path, layer, whole)
    with pytest.raises(SyndiffError, match="1 tensors are missing, the first is bias"):
        check_loaded(tmp_path, layer, {**whole, "missing_keys": {"bias"}})
    with pytest.raises(SyndiffError, match="2 tensors are none of the network's, the first is a"):
        check_loaded(tmp_path, layer, {**whole, "unexpected_keys": ["b", "a"]})
    nn.init.constant_(layer.bias, torch.nan)
    with pytest.raises(SyndiffError, match="bias holds values that are no finite numbers"):
        check_loaded(tmp_path, layer, whole)


def test_encoder_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network = EfficientNetLite0()
    save_file({**network.state_dict(), "extra.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(SyndiffError, match=r"1 tensors differ, the first is extra\.weight"):
        load_imagenet_weights(network, tmp_path / "x.safetensors")


def test_the_shipped_weights_are_the_ones_noted_beside_them() -> None:
    for source in ("compact", "mask"):
        assert len(load_autoencoder(source).fingerprint) == 64


def test_a_lora_is_the_one_that_was_noted(tmp_path: Path) -> None:
    path = tmp_path / LORA_FILE
    save_file({"unet.x.lora_A.weight": torch.ones(1, 1)}, path)
    write_json(tmp_path / "lora.json", {"file": "0" * 64})
    lora = find_lora(str(tmp_path), 1.0)
    assert isinstance(lora, LoraFile)
    with pytest.raises(SyndiffError, match=rf"{LORA_FILE} is damaged: its SHA-256"):
        load_loras(None, [lora])
