"""The text-image gate on a tiny random CLIP, saved and loaded as a real one would be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from syndiff.errors import SyndiffError
from syndiff.synthesis.gates.panel import Gates
from syndiff.synthesis.gates.region import GateInput
from syndiff.synthesis.gates.settings import GatesSettings
from syndiff.synthesis.gates.text_image import TextImage


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of a few thousand random weights with a vocabulary of letters."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("clip")
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    text = {**sizes, **ends, "vocab_size": len(words), "max_position_embeddings": 40}
    vision = {**sizes, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


def scene(prompt: str, shade: int = 200, deep: bool = False) -> GateInput:
    image = np.full((40, 50, 3), 60, np.uint16 if deep else np.uint8)
    mask = np.zeros((40, 50), bool)
    mask[10:30, 15:35] = True
    image[mask] = (shade, 90, 80)
    return GateInput(
        image=image * 257 if deep else image, label=mask, lesion_mask=mask, inpaint_mask=mask, prompt=prompt
    )


def test_the_score_is_clips_own(clip: Path) -> None:
    """The same tokens and pixels through transformers' own forward pass give the same cosine."""
    import torch
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), AutoTokenizer.from_pretrained(clip)
    gate, given = TextImage(clip), scene("a red polyp")
    pixels = torch.from_numpy(gate._pixels(given))[None]
    assert pixels.shape == (1, 3, 16, 16)
    with torch.inference_mode():
        out = model(pixel_values=pixels, **tokenizer(given.prompt, return_tensors="pt"))
        expected = float(out.logits_per_image[0, 0] / model.logit_scale.exp())
    assert gate.score(given) == pytest.approx(expected, abs=1e-5)


def test_text_and_picture_both_count(clip: Path) -> None:
    gate = TextImage(clip)
    scores = {gate.score(scene(text, shade)) for text in ("a red polyp", "blue") for shade in (200, 20)}
    assert len(scores) == 4 and all(-1 <= score <= 1 for score in scores if score is not None)
    assert gate.score(scene("")) is None
    assert gate.score(scene("a red polyp", deep=True)) == pytest.approx(gate.score(scene("a red polyp")), abs=1e-5)
    assert gate.score(scene("word " * 60)) is not None  # beyond the model's limit


def test_it_is_calibrated_on_captions_and_only_scores_without(clip: Path, make_dataset, tmp_path: Path) -> None:
    dataset = make_dataset()
    ids = [case.id for case in dataset.cases]
    settings = GatesSettings(checks=(), text_model=str(clip))
    plain = Gates.calibrate(dataset, ids, settings, progress=False)
    (verdict,) = plain.judge(scene("a red polyp"))
    assert verdict.passed and verdict.score is not None and "not calibrated" in verdict.reason
    assert "captions.csv" in str(plain.left_out)
    cases = tuple(replace(case, caption="a bright polyp") for case in dataset.cases)
    told = Gates.calibrate(replace(dataset, cases=cases), ids, settings, progress=False)
    assert told.bounds["text_image"].cases == len(cases) and told.bounds["text_image"].low is not None


@pytest.mark.parametrize("damage", ["absent", "pickled", "cut", "incomplete"])
def test_a_folder_that_is_no_safe_clip_is_refused(clip: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "clip"
    if damage != "absent":
        shutil.copytree(clip, folder)
        weights = folder / "model.safetensors"
        if damage == "pickled":
            weights.rename(folder / "pytorch_model.bin")
        elif damage == "incomplete":
            whole = load_file(weights)
            save_file({name: whole[name] for name in sorted(whole)[:-2]}, weights, {"format": "pt"})
        else:
            weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(SyndiffError, match=r"text_model.*clip"):
        TextImage(folder)
