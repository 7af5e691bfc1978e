"""A run that was killed, however often and at whatever moment, ends with the very same bytes."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_training import MODEL, TRAINING, tiny_train

from syndiff.documents import read_json, read_objects
from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.models.settings import SegmenterSettings
from syndiff.training.checkpoints import find_checkpoint, load_state
from syndiff.training.loop import Journal
from syndiff.training.run_folder import claimed_run
from tiny_pipelines import save_narrow_kl

LONGER = replace(TRAINING, steps=12, checkpoint_every=3, validate_every=4)
CONTROL = replace(MODEL, kind="control")


def what_counts(run: Path) -> dict[str, object]:
    """Everything of a finished run that must not depend on how often it was interrupted: all but the seconds."""
    last, best = (find_checkpoint(run, pointer) for pointer in ("last", "best"))
    lines = list(read_objects(run / "metrics.jsonl", {}))
    return {
        "folders": sorted(path.name for path in (run / "checkpoints").iterdir()),
        "pointers": (last.name, best.name),
        "weights": (last / "model.safetensors").read_bytes(),
        "best weights": (best / "model.safetensors").read_bytes(),
        "description": (last / "model.json").read_bytes(),
        "state": (last / "training_state" / "state.safetensors").read_bytes(),
        "metrics": [{name: value for name, value in line.items() if name != "seconds"} for line in lines],
    }


def assert_equal(run: Path, reference: Path) -> None:
    found, expected = what_counts(run), what_counts(reference)
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    tiny_train(run, model_settings=CONTROL)
    return run


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run; its files may be replaced, not written into."""
    return Path(shutil.copytree(finished, tmp_path / "run", copy_function=os.link))


def attempt(run: Path, model: SegmenterSettings) -> None:
    with claimed_run(run, "train"):  # sweeps what a killed write left, as each verb does
        tiny_train(run, model_settings=model, settings=LONGER)


MOMENTS = {
    "the first checkpoint is half written": ("os.rename", ".000003.partial/model.safetensors"),
    "nothing points to the first checkpoint yet": ("os.rename", "checkpoints/last"),
    "a validation and steps since the last checkpoint are noted": ("os.mkdir", ".000006.partial"),
    "the state of a later one is half written": ("os.rename", ".000006.partial/training_state/state.safetensors"),
    "it is complete, but not under its name": ("os.rename", "checkpoints/000006"),
    "its successor is there, and it is about to go": ("shutil.rmtree", "checkpoints/000006"),
    "the last steps are noted": ("os.mkdir", ".000012.partial"),
}


@pytest.mark.slow
def test_killed_at_every_moment_and_started_again(forked: ModuleType, tmp_path: Path):
    reference, run = tmp_path / "reference", tmp_path / "run"
    model = replace(MODEL, encoder="autoencoder", autoencoder=str(save_narrow_kl(tmp_path / "kl-f8")))  # the smallest
    for moment in MOMENTS.values():
        forked.kill_before(*moment, attempt, run, model)
        # Whatever lies there is whole.
        for pointer in ("last", "best"):
            checkpoint = find_checkpoint(run, pointer)
            if checkpoint is not None:
                assert load_state(checkpoint)[1]["step"] == int(checkpoint.name)
                assert load_file(checkpoint / "model.safetensors")
    for folder in (run, reference):
        assert forked.run(attempt, folder, model) == 0
    assert_equal(run, reference)


def test_stopped_twice_it_ends_with_the_same_bytes(finished, tmp_path):
    """Nor does it matter what the process did with the global random state in between."""
    run = tmp_path / "run"
    for stop in (1, 4, None):
        torch.manual_seed(stop or 0)
        tiny_train(run, model_settings=CONTROL, stop_after=stop)
    assert_equal(run, finished)


def test_a_finished_run_is_left_as_it_is(copied, finished):
    best = tiny_train(copied, model_settings=CONTROL)
    assert best == find_checkpoint(copied, "best")
    assert_equal(copied, finished)


def test_every_step_is_noted_once(finished):
    lines = list(read_objects(finished / "metrics.jsonl", {}))
    assert [(line["step"], "loss" in line, "val_dice" in line) for line in lines] == [
        (3, False, True),
        (6, True, False),
        (6, False, True),
    ]


def test_lines_after_the_checkpoint_and_a_cut_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"step": 2, "val_dice": 0.5}\n{"step": 3}\n{"step": 4, "lo')
    journal = Journal(path, 2, 3)
    journal.write(step=3, loss=0.25)
    lines = list(read_objects(path, {}))
    assert lines == [{"step": 1}, {"step": 2}, {"step": 2, "val_dice": 0.5}, {"step": 3, "loss": 0.25}]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_training_goes_on_and_tells_which_lines_were_lost(copied, finished, caplog, kept):
    path = copied / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    path.write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
    tiny_train(copied, model_settings=CONTROL)
    assert f"metrics.jsonl has lost {3 - kept} of the 3 lines that it had at step 6" in caplog.text
    assert what_counts(copied) | {"metrics": ()} == what_counts(finished) | {"metrics": ()}


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("file", ["model.json", "training_state/state.safetensors", "training_state/progress.json"])
@pytest.mark.parametrize("damage", [remove, cut])
def test_a_damaged_checkpoint_is_named(copied, file, damage):
    damage(find_checkpoint(copied, "last") / file)
    with pytest.raises(SyndiffError, match="000006"):
        tiny_train(copied, model_settings=CONTROL)


@pytest.mark.parametrize("content", [b"000099", b"../../elsewhere", b"", b"\xff\xfe"])
def test_a_pointer_to_nowhere_is_named(copied, content):
    pointer = copied / "checkpoints" / "last"
    pointer.unlink()
    pointer.write_bytes(content)
    with pytest.raises(SyndiffError, match="checkpoints/last points to"):
        tiny_train(copied, model_settings=CONTROL)


def forget_the_hash(path: Path) -> None:
    """As a checkpoint is that was written before hashes were kept."""
    content = read_json(path)
    del content["sha256"]
    path.unlink()
    write_json(path, content)


@pytest.mark.parametrize("part", ["live", "ema"])
def test_a_state_that_lacks_a_tensor_is_refused(copied, part):
    path = find_checkpoint(copied, "last") / "training_state" / "state.safetensors"
    state = load_file(path)
    path.unlink()
    save_file({name: value for name, value in state.items() if name != f"{part}.head.weight"}, path)
    forget_the_hash(path.with_name("progress.json"))
    with pytest.raises(SyndiffError, match=r"1 tensors differ.*head\.weight"):
        tiny_train(copied, model_settings=CONTROL)


def test_other_model_settings_are_refused_with_both_values(copied):
    with pytest.raises(SyndiffError, match=r"model norm was l1 there and is l2 now"):
        tiny_train(copied, model_settings=replace(CONTROL, norm="l2"))


def test_another_autoencoder_is_refused_with_both_fingerprints(tmp_path):
    checkpoint = tiny_train(tmp_path, stop_after=1)
    described = read_json(checkpoint / "model.json")
    now = described["autoencoder"]["fingerprint"]
    write_json(
        checkpoint / "model.json", {**described, "autoencoder": {**described["autoencoder"], "fingerprint": "0ld"}}
    )
    with pytest.raises(SyndiffError, match=f"autoencoder fingerprint was 0ld there and is {now}"):
        tiny_train(tmp_path)
