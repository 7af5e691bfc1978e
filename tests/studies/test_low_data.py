"""The low-data study: few groups, every arm, kept cells, and a table that can be checked by hand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow
from syndiff.evaluation.metrics import case_metrics
from syndiff.studies.low_data import REAL, few_groups
from syndiff.studies.table import as_markdown, tabulate
from tiny_commands import SMALL

TINY = [
    *("--set", *SMALL, "model.condition_channels=16", "model.denoiser_channels=16"),
    *("model.inference_tta=1", "training.batch_size=2"),
    *("inpainter.crop_size=64", "inpainter.channels=[32, 32, 32]", "inpainter.caption_channels=16"),
    *("inpainter.caption_layers=1", "adapt.minutes=0", "adapt.steps=2", "adapt.crops=16", "adapt.batch_size=2"),
    *("gates.checks=[contrast]", "synthesis.background_lesion=restyle"),
]
FEWER_STEPS = "compact.steps=2"


def test_few_groups_keeps_whole_training_groups_and_tests_on_the_others(phantom: Path) -> None:
    dataset = Dataset.open(phantom)
    split = make_split(dataset, method="group", seed=0)
    few = few_groups(dataset, split, 2, seed=3)
    groups = {dataset[case].group for case in few.train}
    assert len(groups) == 2 and set(few.train) == {c for c in split.train if dataset[c].group in groups}
    assert few.val == split.val and set(few.test) == {*split.test, *split.train} - set(few.train)
    few.check(dataset)
    assert few == few_groups(dataset, split, 2, seed=3)
    with pytest.raises(SyndiffError, match="lower --groups"):
        few_groups(dataset, split, 99, seed=3)
    alone = replace(dataset, cases=tuple(replace(case, group=None) for case in dataset.cases))
    few = few_groups(alone, make_split(alone, seed=0), 3, seed=3)
    assert len(few.train) == 3, "a case without a group is one of its own"


def test_the_table_averages_repeats_and_pairs_cases(square_row) -> None:
    """Two groups of two cases, two repeats; painted is better by .1 everywhere."""
    plain = [[square_row(i, 0.5 + 0.1 * i) for i in range(4)], [square_row(i, 0.3 + 0.1 * i) for i in range(4)]]
    painted = [
        [replace(row, metrics=replace(row.metrics, dice=row.metrics.dice + 0.1)) for row in rows] for rows in plain
    ]
    content = tabulate({REAL: plain, "painted": painted}, REAL)
    assert content[REAL]["dice"]["mean"] == pytest.approx(0.55)
    assert content[REAL]["repeats"] == pytest.approx([0.65, 0.45])
    assert content["painted"]["difference"]["dice"]["mean"] == pytest.approx(0.1)
    assert content["painted"]["difference"]["dice"]["low"] == pytest.approx(0.1)
    assert "difference" not in content[REAL]
    assert "| painted | 0.650" in as_markdown(content, REAL) and "+0.100" in as_markdown(content, REAL)


@pytest.fixture
def square_row():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    metrics = case_metrics(mask, mask)

    def make(index: int, dice: float) -> CaseRow:
        return CaseRow(f"c{index}", f"g{index // 2}", replace(metrics, dice=dice), 0.1)

    return make


@pytest.mark.slow
def test_the_study_fills_its_cells_and_keeps_them(forked: ModuleType, syndiff, phantom: Path, tmp_path: Path) -> None:
    command = ["study", "low-data", "--data", phantom, "--out", tmp_path / "study", "--groups", 2, "--steps", 2]
    command += ["--repeats", 2, "--shares", 0.5]
    done = syndiff(*command, "--workers", 2, *TINY, FEWER_STEPS)
    assert done.status == 0, done.err
    arms = json.loads((tmp_path / "study/low_data_val.json").read_text())["arms"]
    assert list(arms) == [REAL, "copy_paste, 50%", "compact, gates, 50%", "compact, no gates, 50%"]
    assert all(len(arm["repeats"]) == 2 for arm in arms.values())
    assert [arm["added"] > 0 for arm in arms.values()] == [False, True, True, True]
    painted = {folder.name: folder for folder in (tmp_path / "study/synthetic").iterdir()}
    made = {name: json.loads((p / "manifest.jsonl").read_text().splitlines()[0]) for name, p in painted.items()}
    assert {name: sample["settings"]["background_lesion"] for name, sample in made.items()} == {
        **{"copy_paste": "keep", "compact-gates": "restyle", "compact-no-gates": "restyle"}
    }
    assert "agreement" in made["compact-gates"]["gates"] and "agreement" not in made["compact-no-gates"]["gates"]
    whole, few = (json.loads((tmp_path / "study" / name).read_text()) for name in ("whole_split.json", "split.json"))
    assert set(few["train"]) < set(whole["train"])
    for cell in (tmp_path / "study/cells").glob("*/*"):
        assert json.loads((cell / "split.json").read_text())["train"] == few["train"]
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "study").rglob("model.safetensors")}
    again = syndiff(*command, *TINY, FEWER_STEPS)
    assert again.status == 0 and again.out == done.out and kept == {p: p.stat().st_mtime_ns for p in kept}
    for idle in ("synthesis.share=0.5", "gates.segmenter=x", "gates.mode=report"):
        refused = syndiff(*command, *TINY, idle)
        assert refused.status == 2 and "no effect on `syndiff study low-data`" in refused.err
    for shares, reason in (((0.5, 0.502), "each whole percentage once"), ((0.001,), "less than one")):
        refused = syndiff(*command[:-1], *shares, *TINY)
        assert refused.status == 2 and reason in refused.err
    other = ["--seed", 1, "--elsewhere", tmp_path / "study" / "inpainter", "--out", tmp_path / "other"]
    leak = syndiff("study", "low-data", "--data", phantom, *other, "--groups", 2, "--steps", 2, *TINY)
    assert leak.status == 2 and "leaks" in leak.err
    few_arms = [*command[:5], tmp_path / "few arms", *command[6:-2], "--shares", 0.5, "--sources"]
    ungated = [setting for setting in TINY if not setting.startswith("gates.")]
    plain = [name for name in ungated if not name.startswith(("inpainter.", "adapt.", "synthesis."))]
    other = tmp_path / "other centre"
    shutil.copytree(phantom, other)
    (other / "dataset.json").write_text((other / "dataset.json").read_text().replace("phantom", "other"))
    real = syndiff(*few_arms, "others", "--others", other, "--repeats", 1, *plain)
    assert real.status == 2 and "holds images of it" in real.err
    for image in (other / "images").iterdir():
        Image.fromarray(np.asarray(Image.open(image))[::-1]).save(image)
    real = syndiff(*few_arms, "others", "--others", other, "--repeats", 1, *plain)
    assert real.status == 0, real.err
    arms = json.loads((tmp_path / "few arms/low_data_val.json").read_text())["arms"]
    assert list(arms) == [REAL, "real cases of another dataset, 50%"]
    assert arms["real cases of another dataset, 50%"]["added"] > 0
    for sources, settings, reason in (
        (["own-ungated"], TINY, "setting gates.checks has no effect on `syndiff study low-data without a source"),
        (["copy_paste"], ungated, "setting synthesis.background_lesion has no effect"),
        (["elsewhere"], plain, "found no --elsewhere"),
        (["others", "--others", phantom], plain, "its cases may be test cases"),
        (["own", "--elsewhere", tmp_path / "study" / "inpainter"], TINY, "has no effect with --sources own"),
    ):
        refused = syndiff(*few_arms, *sources, *settings)
        assert refused.status == 2 and reason in refused.err


def test_frames_and_lesions_of_elsewhere_are_taken_but_no_held_out_case(syndiff, phantom: Path, tmp_path: Path) -> None:
    split = make_split(Dataset.open(phantom), method="group", seed=0)
    frames = tmp_path / "frames"
    frames.mkdir()
    shutil.copy(phantom / "images" / f"{split.test[0]}.png", frames / "normal.png")
    given = [
        "study",
        "low-data",
        "--data",
        phantom,
        "--out",
        tmp_path / "low",
        "--groups",
        2,
        "--sources",
        "copy_paste",
    ]
    given += ["--steps", 2, "--dry-run", "--set", *SMALL]
    for option, folder in (("--backgrounds", frames), ("--lesions", phantom)):
        refused = syndiff(*given, option, folder)
        assert refused.status == 2 and f"synthesis{option.replace('--', '.')}" in refused.err, refused.err
    Image.effect_noise((112, 96), 40).convert("RGB").save(frames / "normal.png")
    taken = syndiff(*given, "--backgrounds", frames)
    assert taken.status == 0 and not (tmp_path / "low").exists(), taken.err
