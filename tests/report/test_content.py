"""Reading a run folder: what comes out, and what is said when something is missing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from damage import damaged
from syndiff.data.dataset import Dataset
from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.report.arms import KINDS
from syndiff.report.content import flatten, read_content
from syndiff.report.words import hardware, limits, main_table, verdict, warnings

Run = tuple[Path, Dataset]
MakeRun = Callable[..., Run]


def test_every_arm_is_read_as_it_was_written(shared_run: Run) -> None:
    run, dataset = shared_run
    content = read_content(run, dataset)
    assert tuple(content.arms) == tuple(KINDS)
    assert content.main.name == "real+synthetic"
    summary = read_json(run / "real" / "eval" / "tiny" / "summary.json")
    arm = content.arms["real"]
    assert arm.scores["dice"].mean == summary["metrics"]["dice"]["mean"]
    assert arm.counts["lesions"] == len(content.split.test)
    assert {row.case for row in arm.rows} == set(content.split.test)
    assert (arm.training.steps, arm.training.images, arm.training.seconds) == (30, 120, 180.0)
    assert arm.training.validation == ((10, 0.1), (20, 0.2), (30, 0.3))
    assert list(arm.timing.stages) == ["denoise"]
    assert content.settings["model.image_size"] == "64"
    assert content.environment["libraries.torch"] == "2.13.0"
    assert content.command.startswith("syndiff run")


def test_differences_are_first_minus_second(shared_run: Run) -> None:
    content = read_content(*shared_run)
    for first, second in (("real+synthetic", "real"), ("real", "control")):
        comparison = content.comparison(first, second)
        assert comparison is not None
        means = [content.arms[name].scores["dice"].mean for name in (first, second)]
        assert comparison.differences["dice"].mean == pytest.approx(means[0] - means[1])


def test_the_manifest_is_counted(shared_run: Run) -> None:
    synthesis = read_content(*shared_run).synthesis
    assert synthesis is not None
    assert synthesis.backends == ("copy_paste",)
    assert len(synthesis.samples) == 4
    assert synthesis.rejected == {"painted black": 2}


@pytest.mark.parametrize("arms", [("control", "real"), ("real",)])
def test_a_run_of_some_arms_is_complete_in_itself(make_run: MakeRun, arms: tuple[str, ...]) -> None:
    content = read_content(*make_run(arms=arms))
    assert tuple(content.arms) == arms
    assert content.synthesis is None
    assert content.comparison("real+synthetic", "real") is None
    assert (content.comparison("real", "control") is not None) == (len(arms) == 2)


@pytest.mark.parametrize(
    ("missing", "verb"),
    [
        ("split.json", "run"),
        ("config.yaml", "run"),
        ("environment.json", "run"),
        ("command.txt", "run"),
        ("real/metrics.jsonl", "train"),
        ("real/config.yaml", "train"),
        ("control/eval/tiny/timing.json", "evaluate"),
        ("synthetic/manifest.jsonl", "synthesize"),
    ],
)
def test_a_missing_file_is_named_with_the_verb_that_makes_it(own_run: Run, missing: str, verb: str) -> None:
    run, dataset = own_run
    (run / missing).unlink()
    with pytest.raises(SyndiffError) as error:
        read_content(run, dataset)
    assert str(run / missing) in str(error.value)
    assert f"`syndiff {verb}`" in str(error.value)


def test_an_arm_without_evaluation_asks_for_evaluate(own_run: Run) -> None:
    run, dataset = own_run
    (run / "real" / "eval" / "tiny" / "summary.json").unlink()
    with pytest.raises(SyndiffError, match=r"real/eval has no summary.json .*`syndiff evaluate`"):
        read_content(run, dataset)


def test_an_evaluation_of_other_cases_does_not_count(own_run: Run) -> None:
    run, dataset = own_run
    table = run / "real" / "eval" / "tiny" / "per_case.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(SyndiffError, match="test cases of tiny"):
        read_content(run, dataset)


def test_a_missing_synthetic_set_asks_for_synthesize(own_run: Run) -> None:
    run, dataset = own_run
    shutil.rmtree(run / "synthetic")
    with pytest.raises(SyndiffError, match=r"synthetic does not exist.*`syndiff synthesize`"):
        read_content(run, dataset)


def test_a_folder_that_is_no_run_says_how_to_make_one(own_run: Run, tmp_path: Path) -> None:
    run, dataset = own_run
    with pytest.raises(SyndiffError, match=r"does not exist.*syndiff run --data"):
        read_content(tmp_path / "nowhere", dataset)
    for arm in KINDS:
        shutil.rmtree(run / arm)
    with pytest.raises(SyndiffError, match="holds none of control, real"):
        read_content(run, dataset)


def test_another_dataset_is_refused(shared_run: Run, make_run: MakeRun) -> None:
    _, other = make_run(arms=("real",), prefix="other-")
    with pytest.raises(SyndiffError, match="has other images, masks or groups"):
        read_content(shared_run[0], other)


def test_a_summary_of_an_older_version_is_named(own_run: Run) -> None:
    run, dataset = own_run
    path = run / "real" / "eval" / "tiny" / "summary.json"
    summary = read_json(path)
    del summary["pooled"]
    write_json(path, summary)
    with pytest.raises(SyndiffError, match=r"summary.json lacks .*pooled.*`syndiff evaluate`"):
        read_content(run, dataset)


def test_the_later_line_of_a_repeated_step_counts(own_run: Run) -> None:
    run, dataset = own_run
    with (run / "real" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "images": 80, "loss": 9.0, "seconds": 120.0}\n{"step": 20, "val_dice": 0.9}\n')
    training = read_content(run, dataset).arms["real"].training
    assert training.loss == ((10, 0.1), (20, 9.0), (30, 1 / 30))
    assert training.validation == ((10, 0.1), (20, 0.9), (30, 0.3))
    assert training.steps == 30


def test_the_training_of_the_inpainter_is_read(own_run: Run) -> None:
    run, dataset = own_run
    assert read_content(run, dataset).inpainter is None
    (run / "inpainter").mkdir()
    lines = '{"step": 20, "images": 320, "loss": 0.5, "seconds": 11.2}\n{"step": 20, "val_loss": 0.4}\n'
    (run / "inpainter" / "metrics.jsonl").write_text(lines)
    inpainter = read_content(run, dataset).inpainter
    assert inpainter and (inpainter.steps, inpainter.seconds, inpainter.validation) == (20, 11.2, ((20, 0.4),))


def test_flat_settings_keep_order_and_lists() -> None:
    nested = {"b": {"y": [1, 2], "x": None}, "a": True, "empty": {}, "none": []}
    assert flatten(nested) == {"b.y": "1, 2", "b.x": "null", "a": "true", "empty": "{}", "none": "(empty)"}


FILES = [
    "split.json",
    "config.yaml",
    "environment.json",
    "real/config.yaml",
    "real/metrics.jsonl",
    "real/eval/tiny/summary.json",
    "real/eval/tiny/per_case.csv",
    "real/eval/tiny/timing.json",
    "synthetic/manifest.jsonl",
    "synthetic/dataset.json",
]


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_a_sentence_or_does_no_harm(shared_run: Run, tmp_path: Path, file: str) -> None:
    run, dataset = shared_run
    path = Path(shutil.copytree(run, tmp_path / "run")) / file

    @settings(max_examples=12, deadline=None, database=None, derandomize=True)
    @given(damaged(run / file))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            found = read_content(tmp_path / "run", dataset)
            main_table(found), verdict(found), warnings(found), limits(found), hardware(found.main.timing)
        except SyndiffError as error:
            assert len(str(error)) < 1500

    check()
