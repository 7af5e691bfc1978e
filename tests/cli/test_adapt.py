"""`syndiff adapt`: an inpainter learns from the training split, and `synthesize` paints with what it learned."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split, make_split
from syndiff.phantom import write_phantom
from syndiff.pipeline import adaptation, synthesis
from syndiff.synthesis.manifest import read_manifest
from syndiff.training.checkpoints import best_checkpoint
from tiny_commands import SMALL

TINY = (
    *("--set", "inpainter.crop_size=64", "inpainter.channels=[32, 32, 32]", "inpainter.caption_channels=16"),
    *("inpainter.caption_layers=1", "adapt.minutes=0", "adapt.steps=2", "adapt.crops=16", "adapt.batch_size=2"),
    *("adapt.warmup_steps=1", "adapt.validate_every=2", "adapt.checkpoint_every=2"),
)
FAST = ("compact.steps=2", "compact.batch_size=2", "gates.mode=report", "gates.checks=[contrast]")


@pytest.fixture
def split(syndiff, phantom: Path, tmp_path: Path) -> Path:
    path = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", path).status == 0
    return path


def test_compact_learns_and_synthesize_paints_with_it(syndiff, phantom: Path, split: Path, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    run, given = tmp_path / "adapted", ["--data", phantom, "--split", split]
    planned = syndiff("adapt", *given, "--out", run, *TINY, "--dry-run")
    assert planned.status == 0, planned.err
    assert "captioned lesions of 12 training cases, such as 'a " in planned.out and "2 steps" in planned.out
    assert not run.exists()

    learned = syndiff("adapt", *given, "--out", run, *TINY)
    assert learned.status == 0, learned.err
    assert f"--inpainter compact --model {run}" in learned.out
    told = json.loads((run / "checkpoints/000002/model.json").read_text())
    assert {"round", "polyp", "mucosa"} <= set(told["vocabulary"])
    again = syndiff("adapt", *given, "--out", run, *TINY)
    assert again.out == learned.out and "encoding crops" in learned.err and "encoding crops" not in again.err

    painted = ["synthesize", *given, "--count", 2, "--inpainter", "compact", "--model", run]
    shown = syndiff(*painted, "--out", tmp_path / "out", "--dry-run", "--set", *FAST)
    assert shown.status == 0, shown.err
    assert "prompt: a " in shown.out and "contrast" in shown.out and not (tmp_path / "out").exists()
    made = syndiff(*painted, "--out", tmp_path / "out", "--set", *FAST)
    assert made.status == 0, made.err
    train = set(Split.read(split).train)
    for line in read_manifest(tmp_path / "out/manifest.jsonl"):
        assert line.backend["name"] == "compact" and len(line.backend["hash"]) == 64
        assert line.settings["inpainter"]["steps"] == 2 and line.source_case in train and line.mask_source in train
        assert f"prompt: {line.prompt}" in shown.out
        assert line.negative_prompt == "" and "against" not in shown.out  # it reads none
    removed = syndiff(*painted, "--out", tmp_path / "removed", "--set", *FAST, "synthesis.background_lesion=remove")
    assert removed.status == 0, removed.err
    removals = [line.removal for line in read_manifest(tmp_path / "removed/manifest.jsonl")]
    assert removals and all(removal["prompt"] and removal["negative_prompt"] == "" for removal in removals)

    kept = Split.read(split)
    other, regrouped = tmp_path / "other.json", tmp_path / "regrouped"
    replace(kept, train=kept.test, test=kept.train).write(other)
    before = (run / "split.json").read_bytes()
    continued = syndiff("adapt", "--data", phantom, "--split", other, "--out", run, *TINY)
    assert continued.status == 2 and "learned_from.split" in continued.err
    assert (run / "split.json").read_bytes() == before
    shutil.copytree(phantom, regrouped)
    (regrouped / "groups.csv").unlink()  # the same cases under another fingerprint
    resplit = tmp_path / "resplit.json"
    replace(Split.read(other), fingerprint=Dataset.open(regrouped).fingerprint()).write(resplit)
    command = ["synthesize", "--data", regrouped, "--split", resplit, "--count", 1, "--out", tmp_path / "leak"]
    leaking = syndiff(*command, "--inpainter", "compact", "--model", run, "--set", *FAST)
    assert leaking.status == 2 and "leaks" in leaking.err and not (tmp_path / "leak").exists()
    for model in (run, run / "checkpoints/000002"):
        leaking = syndiff(
            *("synthesize", "--data", phantom, "--split", other, "--count", 1, "--out", tmp_path / "leak"),
            *("--inpainter", "compact", "--model", model, "--set", *FAST),
        )
        assert leaking.status == 2 and "leaks" in leaking.err and not (tmp_path / "leak").exists()
    fewer, chosen = tmp_path / "fewer.json", tmp_path / "chosen.json"
    replace(kept, train=kept.train[1:]).write(fewer)  # its first case may be of a patient who is tested
    replace(kept, val=kept.test, test=kept.val).write(chosen)  # what chose the checkpoint
    for strict, case in ((fewer, kept.train[0]), (chosen, min(kept.val))):
        command = ["synthesize", "--data", phantom, "--split", strict, "--count", 1, "--out", tmp_path / "leak"]
        leaking = syndiff(*command, "--inpainter", "compact", "--model", run, "--set", *FAST)
        assert leaking.status == 2 and "leaks" in leaking.err and case in leaking.err
    lines = list(read_manifest(tmp_path / "out/manifest.jsonl"))
    spare = min(set(kept.train) - {case for line in lines for case in (line.source_case, line.mask_source)})
    held = tmp_path / "held.json"  # without a case that the inpainter alone has seen
    replace(kept, train=tuple(case for case in kept.train if case != spare)).write(held)
    learn = ["train", "--data", phantom, "--synthetic", tmp_path / "out", "--out", tmp_path / "leak", "--dry-run"]
    leaking = syndiff(*learn, "--split", held)
    assert leaking.status == 2 and "cannot be told" in leaking.err, leaking.err
    assert syndiff(*learn, "--split", split).status == 0
    alone = tmp_path / "project" / "inpainters" / "alone"  # beside a split.json that is not its own
    shutil.copytree(run / "checkpoints/000002", alone)
    command = ["synthesize", "--data", phantom, "--count", 1, "--inpainter", "compact", "--model", alone, "--dry-run"]
    assert syndiff(*command, "--split", split, "--out", tmp_path / "leak", "--set", *FAST).status == 0
    shutil.copy(other, tmp_path / "project" / "split.json")
    untold = syndiff(*command, "--split", other, "--out", tmp_path / "leak", "--set", *FAST)
    assert untold.status == 2 and "split.json" in untold.err and "cannot be told" in untold.err


def test_compact_starts_from_another_centres_inpainter(syndiff, phantom: Path, split: Path, tmp_path: Path) -> None:
    """Its weights, words and latents are taken over, at another size; what it has seen is not forgotten."""
    run, there = tmp_path / "adapted", tmp_path / "there"
    write_phantom(there, groups=5, frames=2, height=96, width=112, seed=1)
    (there / "dataset.json").write_text((there / "dataset.json").read_text().replace("phantom", "there"))
    cases = [case.id for case in Dataset.open(there).cases]
    (there / "captions.csv").write_text("\n".join(["case,caption", *(f"{case},a velvety polyp" for case in cases)]))
    split_there = tmp_path / "there.json"
    assert syndiff("data", "split", "--data", there, "--out", split_there).status == 0
    first = ["adapt", "--data", phantom, "--split", split, "--out", run]
    assert syndiff(*first, *TINY).status == 0

    still = [setting for setting in TINY if not setting.startswith("inpainter.")]
    still += ["inpainter.crop_size=96", "adapt.learning_rate=1e-9"]
    given = ["adapt", "--data", there, "--split", split_there, "--model", run]
    planned = syndiff(*given, "--out", tmp_path / "on", *still, "--dry-run")
    assert planned.status == 0 and "at 96 pixels, from the weights of" in planned.out, planned.err
    done = syndiff(*given, "--out", tmp_path / "on", *still)
    assert done.status == 0, done.err
    before, after = (best_checkpoint(tmp_path / name) for name in ("adapted", "on"))
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert old.keys() == new.keys()
    for name, value in old.items():
        assert torch.allclose(new[name][: len(value)], value, atol=1e-6), name
    words, more = (json.loads((folder / "model.json").read_text())["vocabulary"] for folder in (before, after))
    assert "velvety" not in words and more == [*words, "velvety"]
    again = syndiff(*given, "--out", tmp_path / "on", *still)
    assert again.status == 0 and again.out == done.out

    # What the first one learned from stays known, with the run folder and without it.
    turned, paint = tmp_path / "turned.json", ["synthesize", "--count", 1, "--out", tmp_path / "leak"]
    kept = Split.read(split)
    replace(kept, train=kept.test, test=kept.train).write(turned)
    alone = Path(shutil.copytree(after, tmp_path / "alone"))
    third = ["adapt", "--data", there, "--split", split_there, "--model", tmp_path / "on", "--out", tmp_path / "third"]
    assert syndiff(*third, *still).status == 0
    for model, reason in ((tmp_path / "on", "leaks"), (alone, "cannot be told"), (tmp_path / "third", "leaks")):
        use = ["--inpainter", "compact", "--model", model, "--set", *FAST]
        leak = syndiff(*paint, "--data", phantom, "--split", turned, *use)
        assert leak.status == 2 and reason in leak.err, leak.err
    painted = tmp_path / "painted"
    assert syndiff(*paint[:3], "--out", painted, "--data", phantom, "--split", split, *use).status == 0
    shutil.rmtree(tmp_path / "third" / "start" / "start")
    leak = syndiff(*paint, "--data", phantom, "--split", turned, *use)
    assert leak.status == 2 and "cannot be told" in leak.err, leak.err

    # So does a segmenter that learned from its paintings: it is not judged on the other centre's cases.
    train = ["train", "--data", phantom, "--split", split, "--steps", 2]
    train += ["--set", *SMALL, "training.batch_size=2"]
    for name, added in (("with", ["--synthetic", painted]), ("without", [])):
        assert syndiff(*train, *added, "--out", tmp_path / name).status == 0
        judged = syndiff("evaluate", "--run", tmp_path / name, "--data", there, "--external")
        assert judged.status == (2 if added else 0), judged.err
        assert ("has learned from" in judged.err) == bool(added)

    for arguments, reason in (
        (["--split", turned, "--data", phantom, "--model", run, *still], "leaks"),
        (["--split", split_there, "--data", there, "--model", alone, *still], "whole run folder"),
        (["--split", split_there, "--data", there, "--model", run, *TINY], "inpainter.caption_channels, "),
        (["--split", split_there, "--data", there, "--model", tmp_path / "nothing", *still], "holds no inpainter"),
    ):
        refused = syndiff("adapt", "--out", tmp_path / "refused", *arguments)
        assert refused.status == 2 and reason in refused.err, refused.err
        assert not (tmp_path / "refused").exists()


def test_a_caption_that_would_be_cut_is_found_before_anything_is_learned(
    syndiff, phantom: Path, split: Path, tmp_path: Path
) -> None:
    cases, kept = [case.id for case in Dataset.open(phantom).cases], Split.read(split)

    def caption(chosen: str, text: str) -> None:
        rows = (f"{case},{text if case == chosen else 'a polyp'}" for case in cases)
        (phantom / "captions.csv").write_text("\n".join(["case,caption", *rows]))

    caption(kept.test[0], "not read " * 40)
    command = ["adapt", "--data", phantom, "--split", split, "--out", tmp_path / "run", *TINY]
    assert syndiff(*command, "--dry-run").status == 0, "no inpainter reads the captions of test cases"
    caption(kept.val[0], "a red red polyp " * 12 + "end")
    for given in (command, [*command, "--dry-run"]):
        refused = syndiff(*given)
        assert refused.status == 2 and "has 49 words" in refused.err
        assert "larger inpainter.caption_length" in refused.err
    assert not (tmp_path / "run").exists()
    for given in ([], ["--dry-run"]):
        run = ["run", "--data", phantom, "--out", tmp_path / "run", "--set", "synthesis.inpainter=compact", *given]
        refused = syndiff(*run)
        assert refused.status == 2 and "has 49 words" in refused.err
        assert not (tmp_path / "run").exists(), "a longer caption_length would be refused as another setting"


def test_the_test_cases_are_never_read(
    syndiff, phantom: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the inpainter nor by captions, gates or placement: once they are checked, they cannot be opened."""
    kept = Split.read(split).test
    whole = {path: path.read_bytes() for path in (phantom / "images").iterdir() if path.stem in kept}

    def destroy() -> None:
        for path in whole:
            path.write_bytes(b"never read")

    def checked_and_destroyed(root: Path, **options: Any) -> Dataset:
        for path, content in whole.items():
            path.write_bytes(content)
        dataset = open_checked(root, **options)
        destroy()
        return dataset

    destroy()
    split.unlink()
    make_split(Dataset.open(phantom)).write(split)
    assert kept and Split.read(split).test == kept
    for module in (synthesis, adaptation):
        monkeypatch.setattr(module, "open_checked", checked_and_destroyed)
    given = ["--data", phantom, "--split", split]
    learned = syndiff("adapt", *given, "--out", tmp_path / "adapted", *TINY)
    assert learned.status == 0, learned.err
    painted = ["synthesize", *given, "--count", 2, "--inpainter", "compact", "--model", tmp_path / "adapted"]
    made = syndiff(*painted, "--out", tmp_path / "out", "--set", *FAST[:-1])
    assert made.status == 0, made.err


def test_sdxl_learns_a_lora_from_measured_captions(syndiff, phantom: Path, split: Path, tmp_path: Path) -> None:
    for library in ("diffusers", "transformers", "peft"):
        pytest.importorskip(library)
    from syndiff.synthesis.inpainters.sdxl import Sdxl
    from syndiff.synthesis.inpainters.settings import SdxlSettings
    from tiny_pipelines import save_tiny_pipeline

    model = save_tiny_pipeline(tmp_path / "pipeline")
    command = [
        *("adapt", "--data", phantom, "--split", split, "--out", tmp_path / "lora"),
        *("--inpainter", "sdxl", "--model", model, "--set", "lora.steps=2", "lora.batch_size=1", "lora.rank=2"),
        *("lora.resolution=32", "lora.min_crop=16", "lora.pictures=1", "lora.picture_steps=1"),
    ]
    planned = syndiff(*command, "--dry-run")
    assert planned.status == 0, planned.err
    assert "complete on this disk" in planned.out and "LoRA of rank 2" in planned.out and "polyp" in planned.out
    assert not (tmp_path / "lora").exists()
    learned = syndiff(*command)
    assert learned.status == 0, learned.err
    assert "sdxl.loras=" in learned.out and (tmp_path / "lora/pytorch_lora_weights.safetensors").is_file()
    about = json.loads((tmp_path / "lora/lora.json").read_text())
    assert about["settings"]["background_caption"].startswith("normal colon mucosa")

    other, file = tmp_path / "other.json", tmp_path / "lora/pytorch_lora_weights.safetensors"
    kept = Split.read(split)
    replace(kept, train=kept.test, test=kept.train).write(other)
    paint = ["synthesize", "--data", phantom, "--count", 1, "--inpainter", "sdxl", "--model", model]
    paint += ["--out", tmp_path / "leak", "--dry-run", "--split"]
    for lora in (file.parent, file):
        leaking = syndiff(*paint, other, "--set", f"sdxl.loras=[{lora}]", "gates.mode=off")
        assert leaking.status == 2 and f"{lora} was trained on cases" in leaking.err and "leaks" in leaking.err
    fits = ["--set", f"sdxl.loras=[{file}]", "gates.mode=off", "sdxl.steps=2", "sdxl.resolution=64"]
    assert (clean := syndiff(*paint, split, *fits)).status == 0, clean.err
    taught = Sdxl(str(model), settings=SdxlSettings(loras=(str(file),)))
    assert taught.describe()["learned_from"] == [Dataset.open(phantom).name]
    (tmp_path / "lora/split.json").unlink()
    untold = syndiff(*paint, split, *fits)
    assert untold.status == 2 and "cannot be told" in untold.err
    assert syndiff(*command).status == 0 and Split.read(tmp_path / "lora/split.json") == kept


@pytest.mark.parametrize(
    ("verb", "wrong", "message"),
    [
        ("synthesize", ["--inpainter", "compact"], "no weights of its own: .*syndiff adapt"),
        ("synthesize", ["--inpainter", "compact", "--model", "nowhere"], "nowhere holds no inpainter"),
        (
            "synthesize",
            ["--inpainter", "copy_paste", "--set", "compact.steps=5"],
            "compact.steps has no effect with the inpainter copy_paste",
        ),
        ("synthesize", ["--set", "adapt.steps=5"], "adapt.steps has no effect on `syndiff synthesize`"),
        ("adapt", ["--model", "x"], "x holds no inpainter"),
        (
            "adapt",
            ["--minutes", "5", "--set", "adapt.steps=5"],
            "adapt.steps has no effect on `syndiff adapt while adapt.minutes",
        ),
        ("adapt", ["--set", "lora.rank=5"], "lora.rank has no effect"),
        ("adapt", ["--inpainter", "sdxl", "--minutes", "5"], "adapt.minutes has no effect on"),
        ("adapt", ["--set", "inpainter.autoencoder=/nowhere/kl-f8"], "/nowhere/kl-f8"),
        ("adapt", ["--set", "inpainter.crop_size=50"], "crop_size is 50, expected 64 to 1024, a multiple of 32"),
    ],
)
def test_mistakes_are_said(
    syndiff, phantom: Path, split: Path, tmp_path: Path, verb: str, wrong: list[str], message: str
) -> None:

    count = ["--count", 1] if verb == "synthesize" else []
    failed = syndiff(verb, "--data", phantom, "--split", split, "--out", tmp_path / "out", *count, *wrong)
    assert failed.status == 2 and re.search(message, failed.err), failed.err
    assert not (tmp_path / "out").exists()
