"""The real command line on the phantom: the whole job, resumed, and its single verbs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.inference.load import load
from syndiff.phantom import write_phantom

TINY = [
    "--set",
    "model.image_size=32",
    "model.inference_tta=2",
    "model.condition_channels=16",
    "model.denoiser_channels=16",
]
TINY += ["training.coarse_share=0", "training.steps=2", "training.batch_size=2"]
PAINTER = ["inpainter.crop_size=64", "inpainter.channels=[32, 32, 32]", "inpainter.caption_layers=1", "compact.steps=2"]
ADAPT = [
    "adapt.minutes=0",
    "adapt.steps=2",
    "adapt.crops=16",
    "adapt.batch_size=2",
    "adapt.warmup_steps=1",
    "gates.mode=off",
]
COPIED = ["--inpainter", "copy_paste"]
RUN = [*TINY, "run.minutes=0"]
PAINTED = [*RUN, "synthesis.inpainter=compact", *PAINTER, *ADAPT]


@pytest.mark.slow
def test_run_makes_the_table_and_the_report_and_resumes(syndiff, phantom, tmp_path):
    command = ["run", "--data", phantom, "--out", tmp_path / "run", *PAINTED, "run.gap_steps=1"]
    outcome = syndiff(*command)
    assert outcome.status == 0, outcome.err
    for arm in ("control", "real only", "real + synthetic"):
        assert arm in outcome.out
    run = tmp_path / "run"
    page = (run / "report.html").read_text()
    assert "real + synthetic" in page and 'src="http' not in page
    for arm in ("control", "real", "real+synthetic"):
        summary = json.loads((run / arm / "eval" / "syndiff-phantom" / "summary.json").read_text())
        assert 0 <= summary["metrics"]["dice"]["mean"] <= 1
    synthetic = Dataset.open(run / "synthetic")
    split = json.loads((run / "split.json").read_text())
    assert len(synthetic.cases) == max(1, round(0.2 * len(split["train"])))
    sources = [
        json.loads(line)["source_case"] for line in (run / "synthetic" / "manifest.jsonl").read_text().splitlines()
    ]
    assert set(sources) <= set(split["train"]), "synthesis saw a case outside the training split"
    learned = json.loads((run / "inpainter" / "checkpoints" / "000002" / "model.json").read_text())
    assert learned["learned_from"]["train"] == len(split["train"])
    assert json.loads((run / "inpainter" / "split.json").read_text())["test"] == split["test"]
    gap = json.loads((run / "gap" / "gap.json").read_text())
    assert gap["cases"] == {"synthetic": len(synthetic.cases), "real": len(split["train"])}
    assert gap["difference"]["cases"] == len(split["val"]) and "In 1 steps on the" in page
    assert "domain gap: In 1 steps on the" in (run / "log.txt").read_text(), "told before it is trained with"
    captions = (run / "synthetic" / "captions.csv").read_text().splitlines()[1:]
    assert all(caption.split(",", 1)[1].strip('"') in page for caption in captions[:1]), "no prompt beside its picture"

    kept = {p: p.stat().st_mtime_ns for name in ("model.safetensors", "summary.json") for p in run.rglob(name)}
    again = syndiff(*command)
    assert again.status == 0, again.err
    assert kept == {p: p.stat().st_mtime_ns for p in kept}, "a finished stage was done again"

    shown = syndiff(*command[:5], "--dry-run", *command[5:])
    for there in (
        "domain gap: 1 steps on them alone",
        "already in",
        "control: 2 steps",
        "inpainter: 2 steps",
        "accepted cases",
        "the run is finished",
    ):
        assert there in shown.out, shown.out
    with pytest.raises(SyndiffError, match=r"whose models are control, real and real\+synthetic: give one, such as"):
        load(run)

    refused = syndiff(*command, "synthesis.share=0.5")
    assert refused.status == 2 and "synthesis.share: 0.2 there, 0.5 here" in refused.err


def test_dry_run_writes_nothing(syndiff, phantom, tmp_path):
    outcome = syndiff("run", "--data", phantom, "--out", tmp_path / "run", "--dry-run", *RUN)
    assert outcome.status == 0 and "nothing was written" in outcome.out
    assert not (tmp_path / "run").exists()


def judge_elsewhere(syndiff, run, phantom, other):
    """All cases of another dataset are judged; neither the run's own nor one of its name passes for another."""
    external = ("evaluate", "--run", run, "--external", "--data")
    shutil.copytree(phantom, other)
    (other / "groups.csv").unlink()
    for data in (phantom, other):
        mistaken = syndiff(*external, data)
        assert mistaken.status == 2 and "another dataset" in mistaken.err
    description = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(description | {"name": "Elsewhere"}))
    told = syndiff("evaluate", "--run", run, "--data", other)
    assert told.status == 2 and "add --external" in told.err
    known = syndiff(*external, other)
    assert known.status == 2 and "has seen 15 of the 18 pictures" in known.err, "its pictures under another name"
    (other / "groups.csv").write_bytes((phantom / "groups.csv").read_bytes())
    known = syndiff(*external, other)
    assert known.status == 2 and "another dataset" in known.err, "all of its files under another name"
    (other / "groups.csv").unlink()
    for path in (*(other / "images").iterdir(), *(other / "masks").iterdir()):
        Image.fromarray(np.asarray(Image.open(path))[::-1]).save(path)
    there = syndiff(*external, other)
    assert there.status == 0 and "cases of Elsewhere" in there.out, there.err
    judged = json.loads((run / "eval" / "elsewhere" / "summary.json").read_text())
    assert judged["cases"] == len(list((phantom / "images").iterdir())) and judged["groups"] is None
    (other / "groups.csv").write_bytes((phantom / "groups.csv").read_bytes())
    changed = sorted((other / "masks").iterdir())[0]
    Image.fromarray(255 - np.asarray(Image.open(changed))).save(changed)
    mixed = syndiff(*external, other)
    assert mixed.status == 2 and "another name" in mixed.err, "other files pass for those that were judged"
    (other / "dataset.json").write_text(json.dumps(description | {"name": "Elsewhere again"}))
    assert syndiff(*external, other).status == 0
    again = json.loads((run / "eval" / "elsewhere-again" / "summary.json").read_text())
    assert again["groups"] and again["dataset"]["fingerprint"] != judged["dataset"]["fingerprint"]


def test_single_verbs_split_train_evaluate_predict(syndiff, phantom, tmp_path):
    split, run = tmp_path / "split.json", tmp_path / "run"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    painted = tmp_path / "painted"
    made = syndiff("synthesize", "--data", phantom, "--split", split, "--out", painted, "--count", 2, *COPIED)
    assert made.status == 0 and "2 of" in made.out
    trained = syndiff("train", "--data", phantom, "--split", split, "--synthetic", painted, "--out", run, *TINY)
    assert trained.status == 0, trained.err
    judged = syndiff("evaluate", "--run", run, "--data", phantom)
    assert judged.status == 0 and "dice" in judged.out
    summary = run / "eval" / "syndiff-phantom" / "summary.json"
    kept = summary.stat().st_mtime_ns
    assert syndiff("evaluate", "--run", run, "--data", phantom).status == 0
    assert summary.stat().st_mtime_ns == kept, "the same evaluation was made twice"
    assert syndiff("evaluate", "--run", run, "--data", phantom, "--tolerance", 5).status == 0
    assert json.loads(summary.read_text())["tolerance"] == 5
    refined = syndiff("evaluate", "--run", run, "--data", phantom, "--refine", "tiles")
    assert refined.status == 0 and "lesions missed" in refined.out and "ms an image" in refined.out
    assert json.loads(summary.read_text())["provenance"]["refine"] == "tiles"
    assert "refine" in json.loads(summary.with_name("timing.json").read_text())["milliseconds"]["stages"]
    judge_elsewhere(syndiff, run, phantom, tmp_path / "elsewhere")
    real = tmp_path / "real"
    assert syndiff("train", "--data", phantom, "--split", split, "--out", real, *TINY).status == 0
    scored = [*("synthesize", "--data", phantom, "--split", split, "--segmenter", real), "--count", 1, *COPIED]
    flattered = syndiff(*scored[:5], "--segmenter", run, "--count", 1, *COPIED, "--out", tmp_path / "flattered")
    assert flattered.status == 2 and "trained on synthetic cases too" in flattered.err
    reported = syndiff(*scored, "--gates", "report", "--out", tmp_path / "scored")
    assert reported.status == 0 and "agreement" in reported.out, reported.err
    bounds = json.loads((tmp_path / "scored" / "gates.json").read_text())
    assert bounds["calibrated_on"]["agreement"]["on"] == "validation cases"
    contradiction = syndiff(*scored, "--gates", "off", "--out", tmp_path / "off")
    assert contradiction.status == 2 and "no effect while mode is off" in contradiction.err
    nowhere = syndiff(
        *scored[:5], "--segmenter", tmp_path / "nowhere", "--count", 1, *COPIED, "--out", tmp_path / "none"
    )
    assert nowhere.status == 2 and "holds no trained model" in nowhere.err
    image = tmp_path / "images" / "odd.png"
    image.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (37, 61, 3)).astype(np.uint8)).save(image)
    predicted = syndiff("predict", "--run", run, "--images", image.parent, "--out", tmp_path / "masks", "--steps", 3)
    assert predicted.status == 0, predicted.err
    mask = np.asarray(Image.open(tmp_path / "masks" / "odd.png"))
    assert mask.shape == (37, 61) and set(np.unique(mask)) <= {0, 255}


def test_inspect_draws_a_contact_sheet(syndiff, phantom, tmp_path):
    outcome = syndiff("data", "inspect", "--data", phantom, "--out", tmp_path / "sheet.png")
    assert outcome.status == 0 and "usable" in outcome.out
    assert Image.open(tmp_path / "sheet.png").width > 200


def test_doctor_speaks_plainly(syndiff):
    outcome = syndiff("doctor")
    assert outcome.status == 0
    for word in ("cores", "Memory", "ImageNet", "SDXL"):
        assert word in outcome.out


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        (["--help"], "demo"),
        (["settings"], "model.image_size = "),
        (
            [
                f"{verb} --set model.imge_size=3"
                for verb in (
                    "run --data d --out o",
                    "demo --out o",
                    "train --data d --split s --out o",
                    "adapt --data d --split s --out o",
                    "synthesize --data d --split s --out o --count 1",
                    "study low-data --data d --out o",
                    "study baselines --data d --out o",
                    "study steering --data d --split s --out o",
                )
            ],
            "did you mean 'image_size'?",
        ),
    ],
    ids=("help", "settings", "a wrong setting"),
)
def test_what_needs_no_network_is_quick(calls, said, tmp_path):
    """Help, and a mistake in the settings, come within a second or two: none of the heavy libraries is loaded."""
    code = (
        f"import sys\nfrom syndiff.cli import main\nsys.stderr = sys.stdout\nfor call in {calls!r}:\n"
        "    try: main(call.split())\n    except SystemExit: pass\n"
        "print(sorted(m for m in ('torch', 'numpy', 'matplotlib', 'diffusers', 'accelerate') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
    assert done.stdout.count(said) >= len(calls), done.stdout
    assert not list(tmp_path.iterdir())


def test_a_phantom_dataset_is_usable(phantom: Path):
    assert len(Dataset.open(phantom).cases) == 18


def test_an_interrupted_demo_goes_on(forked: ModuleType, syndiff, tmp_path: Path):
    """What a kill leaves while the phantom is rendered does not stand in the way of the next try."""
    command = ["demo", "--out", tmp_path / "demo", *RUN, "synthesis.inpainter=copy_paste"]
    data = tmp_path / "demo-phantom"
    for frame in (2, 4):
        rendered = data / "images" / f"sequence-001-frame-{frame:03d}.png"
        forked.kill_at(rendered.exists, forked.command, command, tmp_path / "said")
        assert rendered.exists() and not (data / "dataset.json").exists()
    write_phantom(data, groups=5, frames=4, height=96, width=112)  # the rest, smaller: a hundred frames take their time
    outcome = syndiff(*command)
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "demo" / "report.html").is_file()
    assert len(Dataset.open(data).cases) == 20
