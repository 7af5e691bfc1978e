"""Each mistake a user can make gets one sentence that names the mend, status 2, and nothing half-written."""

import csv
import importlib.util
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.training import loop

TINY = ["--set", "model.image_size=32", "training.coarse_share=0", "training.steps=4", "training.batch_size=2"]
RUN = [*TINY, "run.minutes=0", "synthesis.inpainter=copy_paste"]


def first(folder: Path, kind: str) -> Path:
    return sorted((folder / kind).iterdir())[0]


def no_images(data: Path) -> None:
    for path in (data / "images").iterdir():
        path.unlink()
    for path in (data / "masks").iterdir():
        path.unlink()


def image_without_mask(data: Path) -> None:
    first(data, "masks").unlink()


def mask_without_image(data: Path) -> None:
    first(data, "images").unlink()


def mask_of_another_size(data: Path) -> None:
    Image.new("L", (20, 20), 255).save(first(data, "masks"))


def unexpected_mask_values(data: Path) -> None:
    described = json.loads((data / "dataset.json").read_text())
    del described["mask_threshold"]
    (data / "dataset.json").write_text(json.dumps(described))
    Image.fromarray(np.arange(96 * 112).reshape(96, 112).astype(np.uint8)).save(first(data, "masks"))


def all_masks_empty(data: Path) -> None:
    for path in (data / "masks").iterdir():
        Image.new("L", (112, 96), 0).save(path)


def truncated_image(data: Path) -> None:
    path = first(data, "images")
    path.write_bytes(path.read_bytes()[:2000])


def not_an_image(data: Path) -> None:
    first(data, "images").write_bytes(b"hello")


def bomb(data: Path) -> None:
    # A header that promises 20,000 x 20,000 pixels: refused before anything is decoded.
    path = first(data, "images")
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


def unknown_case_in_groups(data: Path) -> None:
    with (data / "groups.csv").open("a") as file:
        file.write("nowhere,sequence-001\n")


def two_groups(data: Path) -> None:
    with (data / "groups.csv").open() as file:
        cases = [row["case"] for row in csv.DictReader(file)]
    lines = [f"{case},{'a' if index % 2 else 'b'}" for index, case in enumerate(cases)]
    (data / "groups.csv").write_text("\n".join(["case,group", *lines]) + "\n")


MISTAKES = {
    no_images: ["images", "no image"],
    image_without_mask: ["sequence-001-frame-001", "mask"],
    mask_without_image: ["sequence-001-frame-001", "image"],
    mask_of_another_size: ["sequence-001-frame-001", "20", "112"],
    unexpected_mask_values: ["sequence-001-frame-001", "mask_threshold"],
    all_masks_empty: ["mask", "empty"],
    truncated_image: ["sequence-001-frame-001.png"],
    not_an_image: ["sequence-001-frame-001.png"],
    bomb: ["sequence-001-frame-001.png", "pixels"],
    unknown_case_in_groups: ["groups.csv", "nowhere"],
    two_groups: ["groups.csv", "2 groups", "at least one each"],
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_bad_dataset_is_refused_before_anything_is_written(mistake, syndiff, phantom, tmp_path):
    mistake(phantom)
    outcome = syndiff("run", "--data", phantom, "--out", tmp_path / "run", *RUN)
    assert outcome.status == 2
    assert "Traceback" not in outcome.err
    sentence = outcome.err[outcome.err.rindex("syndiff: ") :].lower()
    for word in MISTAKES[mistake]:
        assert word.lower() in sentence
    leftovers = [p for p in (tmp_path / "run").rglob("*") if p.is_file()] if (tmp_path / "run").exists() else []
    assert not [p for p in leftovers if "checkpoints" in p.parts or p.name == "split.json"]


def mixed_values(data: Path) -> None:
    (data / "dataset.json").unlink()
    for number, path in enumerate(sorted((data / "masks").iterdir())):
        Image.fromarray((np.asarray(Image.open(path)) > 127) * np.uint8(1 + number % 2)).save(path)


VERBS = [
    "data split", "data caption", "train", "evaluate", "adapt", "synthesize", "merge", "run",
    "study baselines", "study timesteps", "study steps", "study uncertainty", "study low-data", "study steering",
    "study ratio", "study leak", "study ablation", "study reviews", "study robustness",
]  # fmt: skip


@pytest.mark.parametrize("mistake", [all_masks_empty, mixed_values], ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize("verb", VERBS)
def test_what_only_the_whole_set_shows_is_refused_by_every_verb(verb, mistake, syndiff, phantom, tmp_path):
    mistake(phantom)
    out, absent = tmp_path / "out", tmp_path / "absent"
    given = {
        "data split": ["--out", out],
        "data caption": [],
        "train": ["--split", absent, "--out", out],
        "evaluate": ["--run", absent],
        "adapt": ["--split", absent, "--out", out],
        "synthesize": ["--split", absent, "--out", out, "--count", 1],
        "merge": [absent, "--out", out, "--count", 1],
        "study baselines": ["--out", out, "--train-minutes", 1, "--kinds", "diffusion"],
        "study steering": ["--split", absent, "--out", out],
        **{f"study {name}": ["--out", out] for name in ("low-data", "ratio", "leak", "ablation", "reviews")},
        "run": ["--out", out, *RUN],
    }
    runs = ["--runs", absent, "--out", out]
    outcome = syndiff(*verb.split(), "--data", phantom, *given.get(verb, runs))
    assert outcome.status == 2 and "Traceback" not in outcome.err
    words = "all masks are empty" if mistake is all_masks_empty else "different values (1 in"
    assert "is not usable" in outcome.err and words in outcome.err, outcome.err
    assert not out.exists()


def test_inspect_says_each_problem_once(syndiff, phantom):
    mixed_values(phantom)
    outcome = syndiff("data", "inspect", "--data", phantom)
    assert outcome.status == 2
    assert (outcome.out + outcome.err).count("different values (1 in") == 1
    assert "is not usable; its problems are listed above" in outcome.err


def test_other_labels_are_neither_scored_nor_trained_on_under_the_old_split(syndiff, phantom, split_file, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "split.json").write_bytes(split_file.read_bytes())
    described = json.loads((phantom / "dataset.json").read_text())
    (phantom / "dataset.json").write_text(json.dumps({**described, "mask_threshold": 254}))
    for command in (["evaluate", "--run", run], ["train", "--split", split_file, "--out", tmp_path / "new", *TINY]):
        outcome = syndiff(*command, "--data", phantom)
        assert outcome.status == 2 and "(mask_threshold, classes, overlap) have changed" in outcome.err, outcome.err


def convert_to(mode: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        path = first(data, "images")
        image = Image.open(path).convert(mode)
        path.unlink()
        image.save(path.with_suffix(".tif"))

    return change


@pytest.mark.parametrize("mode", ["CMYK", "1"])
def test_an_unusual_image_mode_is_converted_and_said_so(mode, syndiff, phantom, caplog):
    convert_to(mode)(phantom)
    outcome = syndiff("data", "inspect", "--data", phantom)
    assert outcome.status == 0
    assert "sequence-001-frame-001.tif" in caplog.text + outcome.err + outcome.out


def test_a_missing_dataset_folder_is_named(syndiff, tmp_path):
    outcome = syndiff("run", "--data", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert outcome.status == 2 and "nowhere" in outcome.err


def test_a_judge_that_is_missing_or_leaks_is_refused_before_run_writes_anything(syndiff, phantom, tmp_path):
    judge, split_file = tmp_path / "elsewhere", tmp_path / "split.json"
    missing = syndiff("run", "--data", phantom, "--out", tmp_path / "run", *RUN, f"gates.segmenter={judge}")
    assert missing.status == 2 and str(judge) in missing.err
    make_split(Dataset.open(phantom), method="random", seed=1).write(split_file)  # run divides by group
    trained = syndiff("train", "--data", phantom, "--split", split_file, "--out", judge, *TINY)
    assert trained.status == 0, trained.err
    leak = syndiff("run", "--data", phantom, "--out", tmp_path / "run", *RUN, f"gates.segmenter={judge}")
    assert leak.status == 2 and "what has seen them leaks" in leak.err
    assert not (tmp_path / "run").exists()


def test_a_group_on_two_sides_of_a_split_is_refused(syndiff, phantom, tmp_path):
    split_file = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", split_file).status == 0
    split = json.loads(split_file.read_text())
    split["test"].append(split["train"].pop())
    split_file.write_text(json.dumps(split))
    outcome = syndiff("train", "--data", phantom, "--split", split_file, "--out", tmp_path / "run", *TINY)
    assert outcome.status == 2 and "sequence-" in outcome.err
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_cannot_be_made(syndiff, phantom, tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = syndiff("run", "--data", phantom, "--out", tmp_path / "file" / "run", *RUN)
    assert outcome.status == 2 and "file" in outcome.err and "Traceback" not in outcome.err


def test_a_folder_of_something_else_is_not_written_into(syndiff, phantom, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("dear")
    outcome = syndiff("run", "--data", phantom, "--out", tmp_path / "run", *RUN)
    assert outcome.status == 2 and "not a run folder" in outcome.err
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.fixture
def split_file(syndiff, phantom, tmp_path) -> Path:
    assert syndiff("data", "split", "--data", phantom, "--out", tmp_path / "split.json").status == 0
    return tmp_path / "split.json"


def test_a_run_folder_of_other_settings_shows_both_values(syndiff, phantom, split_file, tmp_path):
    command = ["train", "--data", phantom, "--split", split_file, "--out", tmp_path / "run"]
    assert syndiff(*command, *TINY).status == 0
    outcome = syndiff(*command, *TINY, "training.learning_rate=0.5")
    assert outcome.status == 2
    assert "learning_rate: 0.0007 there, 0.5 here" in outcome.err


def test_a_loss_that_is_not_finite_names_the_step(syndiff, phantom, split_file, tmp_path):
    outcome = syndiff(
        "train", "--data", phantom, "--split", split_file, "--out", tmp_path / "run", *TINY,
        "training.learning_rate=1000", "training.warmup_steps=0",
    )  # fmt: skip
    assert outcome.status == 2 and "loss of step" in outcome.err and "learning_rate" in outcome.err


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("model.image_sise=64", "did you mean 'image_size'"),
        ("modle.image_size=64", "did you mean 'model'"),
        ("model.image_size=large", "expected a whole number"),
        ("model.objective=z1", "noise+latent"),
        ("model.image_size=50", "multiple of 32"),
        ("training.steps=0", "steps"),
        ("model.objective=noise+latent", "zero_terminal_snr"),
        ("model.inference_timestep=1000", "999"),
        ("model.autoencoder=/nowhere/kl-f8", "/nowhere/kl-f8"),
        ("model.encoder=pvt_v2_b2", "timm:pvt_v2_b2"),
        ("synthesis.model=somewhere", "no effect"),
        ("nonsense", "section.name=value"),
        ("run.minutes=3", "no effect"),
        ("inpainter.channels=[a", "YAML"),
        ("training.steps=true", "expected a whole number"),
    ],
)
def test_a_wrong_setting_is_explained(setting, word, syndiff, phantom, split_file, tmp_path):
    outcome = syndiff("train", "--data", phantom, "--split", split_file, "--out", tmp_path / "run", *TINY, setting)
    assert outcome.status == 2 and word in outcome.err
    assert not (tmp_path / "run").exists()  # the corrected command must find nothing in its way


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        *(("control", idle) for idle in ("model.objective=v", "model.autoencoder=compact", "training.mask_weight=2")),
        *(("control", idle) for idle in ("training.inference_share=0.5", "training.ema_encoder=false")),
        ("control", "model.encoder=autoencoder"),
        *(("unet", idle) for idle in ("training.backbone_lr_scale=1", "model.pretrained=false")),
    ],
)
def test_a_network_without_diffusion_refuses_the_settings_it_ignores(
    kind, setting, syndiff, phantom, split_file, tmp_path
):
    given = [*TINY, f"model.kind={kind}", setting]
    outcome = syndiff("train", "--data", phantom, "--split", split_file, "--out", tmp_path / "run", *given)
    assert outcome.status == 2 and f"{setting.split('=')[0]} has no effect" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_missing_pipeline_folder_is_named(syndiff, phantom, split_file, tmp_path):
    outcome = syndiff(
        "synthesize", "--data", phantom, "--split", split_file, "--out", tmp_path / "new", "--count", 1,
        "--inpainter", "sdxl", "--model", tmp_path / "no-weights",
    )  # fmt: skip
    assert outcome.status == 2 and "no-weights" in outcome.err


def test_no_network_is_one_sentence(syndiff, phantom, split_file, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "nothing fetched yet"))
    command = ["train", "--data", phantom, "--split", split_file, "--out", tmp_path / "run", *TINY]
    if importlib.util.find_spec("timm"):
        outcome = syndiff(*command, "model.encoder=timm:test_vit")
        assert outcome.status == 2 and "model.encoder_weights timm/test_vit.r160_in1k" in outcome.err
        assert "hf download" in outcome.err and not (tmp_path / "run").exists()
    outcome = syndiff(*command, "model.autoencoder=stabilityai/sd-vae-ft-mse")
    assert outcome.status == 2
    assert "stabilityai/sd-vae-ft-mse" in outcome.err and "Without a network" in outcome.err
    unet = ("model.denoiser=unet", "model.denoiser_channels=32", "model.denoiser_weights=nobody/unet")
    outcome = syndiff(*command, *unet, "model.unet_multipliers=[1, 1]", "model.unet_attention=[]")
    assert outcome.status == 2 and "nobody/unet" in outcome.err and not (tmp_path / "run").exists()


def on_a_full_disk(command: Callable[..., None], *given: object) -> None:
    """The file system refuses to grow any file beyond 1 MB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, resource.RLIM_INFINITY))
    command(*given)


@pytest.mark.slow
def test_a_disk_that_fills_up_loses_nothing(forked: ModuleType, phantom, split_file, tmp_path, syndiff):
    """The checkpoint cannot be written."""
    args = ["train", "--data", phantom, "--split", split_file, "--out", tmp_path / "run", *TINY]
    assert forked.run(on_a_full_disk, forked.command, args, tmp_path / "said") == 2
    said = (tmp_path / "said").read_text()
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "checkpoints" / "last").exists()
    outcome = syndiff(*args)
    assert outcome.status == 0 and "Best model" in outcome.out


def test_a_library_that_is_not_installed_is_named_with_its_extra(syndiff, phantom, split_file, tmp_path, monkeypatch):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name == "transformers":
                raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    for name in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    data = ["--data", phantom, "--split", split_file, "--out", tmp_path / "run", "--count", 1]
    outcome = syndiff("synthesize", *data, "--inpainter", "copy_paste", "--set", f"gates.text_model={folder}")
    assert outcome.status == 2 and "syndiff[sdxl]" in outcome.err


@pytest.mark.parametrize(
    "setting",
    [
        *("training.steps=9 run.minutes=1", "adapt.steps=9 adapt.minutes=1"),
        *("model.kind=control", "run.minutes=inf", "run.tolerance=nan", "model.objective=noise+latent"),
    ],
)
def test_run_refuses_settings_that_it_could_not_follow(setting, syndiff, phantom, tmp_path):
    outcome = syndiff("run", "--data", phantom, "--out", tmp_path / "run", "--set", *setting.split())
    assert outcome.status == 2 and "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["run", "train", "study baselines"])
def test_a_precision_that_the_card_lacks_is_refused_before_a_folder_is_made(
    verb, syndiff, phantom, split_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "has_fast_bf16", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GTX 1080")
    given = [*verb.split(), "--data", phantom, "--out", tmp_path / "run"]
    given += {"train": ["--split", split_file], "run": ["--minutes", 1]}.get(verb, ["--train-minutes", 1])
    outcome = syndiff(*given, "--set", "training.precision=bf16")
    assert outcome.status == 2 and "GTX 1080 has no bf16" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_synthesis_that_falls_short_shows_what_it_refused(syndiff, phantom, split_file, tmp_path):
    data, count = ["--data", phantom], ["--count", 3]
    command = ["synthesize", *data, "--split", split_file, "--inpainter", "copy_paste", "--set", "gates.quantile=0.49"]
    whole = syndiff(*command, *count, "--out", tmp_path / "whole")
    shards = [tmp_path / "1", tmp_path / "2"]
    for i, shard in enumerate(shards, 1):
        syndiff(*command, *count, "--out", shard, "--shard", f"{i}/2")
    merged = syndiff("merge", *shards, *data, *count, "--out", tmp_path / "merged")
    for outcome, out in ((whole, tmp_path / "whole"), (merged, tmp_path / "merged")):
        assert outcome.status == 2 and "Asked for 3 synthetic samples" in outcome.err, outcome.err
        assert (out / "synthesis.html").is_file()


def test_a_negative_seed_is_refused(syndiff, phantom, tmp_path):
    outcome = syndiff("run", "--data", phantom, "--out", tmp_path / "run", "--seed", -1)
    assert outcome.status == 2 and "--seed" in outcome.err


def test_sdxl_without_weights_is_noticed_before_any_training(syndiff, phantom, tmp_path):
    sdxl = ["synthesis.inpainter=sdxl", f"synthesis.model={tmp_path / 'no-weights'}"]
    outcome = syndiff("run", "--data", phantom, "--out", tmp_path / "run", *RUN, *sdxl)
    assert outcome.status == 2 and "no-weights" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_continued_under_another_split(syndiff, phantom, tmp_path):
    for seed in (0, 1):
        made = syndiff("data", "split", "--data", phantom, "--out", tmp_path / f"{seed}.json", "--seed", seed)
        assert made.status == 0
    command = ["train", "--data", phantom, "--out", tmp_path / "run", *TINY]
    assert syndiff(*command, "--split", tmp_path / "0.json").status == 0
    before = (tmp_path / "run" / "split.json").read_bytes()
    outcome = syndiff(*command, "--split", tmp_path / "1.json")
    assert outcome.status == 2 and "data.split" in outcome.err
    assert (tmp_path / "run" / "split.json").read_bytes() == before


def test_synthetic_cases_made_from_test_cases_are_refused(syndiff, phantom, split_file, tmp_path):
    split = json.loads(split_file.read_text())
    split["train"], split["test"] = split["test"], split["train"]
    (tmp_path / "other.json").write_text(json.dumps(split))
    painted = tmp_path / "painted"
    args = ["--data", phantom, "--split", tmp_path / "other.json", "--out", painted, "--count", 1]
    assert syndiff("synthesize", *args, "--inpainter", "copy_paste").status == 0
    outcome = syndiff(
        "train", "--data", phantom, "--split", split_file, "--synthetic", painted, "--out", tmp_path / "run", *TINY
    )
    assert outcome.status == 2 and "leak" in outcome.err
    real = syndiff(
        "train", "--data", phantom, "--split", split_file, "--synthetic", phantom, "--out", tmp_path / "run", *TINY
    )
    assert real.status == 2 and "manifest.jsonl" in real.err


def test_masks_never_overwrite_the_images(syndiff, phantom, split_file, tmp_path):
    run = tmp_path / "run"
    assert syndiff("train", "--data", phantom, "--split", split_file, "--out", run, *TINY).status == 0
    before = first(phantom, "images").read_bytes()
    outcome = syndiff("predict", "--run", run, "--images", phantom / "images", "--out", phantom / "images")
    assert outcome.status == 2 and "overwrite" in outcome.err
    assert first(phantom, "images").read_bytes() == before
