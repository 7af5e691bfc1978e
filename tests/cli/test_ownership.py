"""No verb replaces or removes a file that it did not make, and no two processes write into one folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syndiff.files import locked, sha256
from tiny_commands import TINY

COPY = ["--inpainter", "copy_paste", "--gates", "off"]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def split(syndiff, phantom: Path, tmp_path: Path) -> Path:
    assert syndiff("data", "split", "--data", phantom, "--out", tmp_path / "split.json").status == 0
    return tmp_path / "split.json"


@pytest.mark.parametrize("victim", ["groups.csv", "dataset.json", "image", "mask"])
def test_outputs_in_a_dataset_folder_replace_nothing(syndiff, phantom: Path, victim: str) -> None:
    path = next((phantom / f"{victim}s").iterdir()) if victim in ("image", "mask") else phantom / victim
    before = content(phantom)
    for command in (["inspect"], ["caption", "--force"], ["split"]):
        outcome = syndiff("data", *command, "--data", phantom, "--out", path)
        assert outcome.status == 2 and path.name in outcome.err
        assert any(words in outcome.err for words in ("not replaced", "would pass for one", "add --force"))
    assert content(phantom) == before


def test_a_sheet_is_no_case(syndiff, phantom: Path) -> None:
    outcome = syndiff("data", "inspect", "--data", phantom, "--out", phantom / "images" / "sheet.png")
    assert outcome.status == 2 and "would pass for one" in outcome.err
    assert not (phantom / "images" / "sheet.png").exists()


def test_what_a_verb_made_it_makes_anew(syndiff, phantom: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert syndiff("data", "inspect", "--data", phantom, "--out", tmp_path / "sheet.png").status == 0
        assert syndiff("data", "caption", "--data", phantom, "--force").status == 0


def foreign_pictures(folder: Path, phantom: Path) -> None:
    """A dataset whose pictures happen to be called as synthetic ones are, with tables of its own and no manifest."""
    shutil.copytree(phantom, folder)
    (folder / "manifest.jsonl").unlink(missing_ok=True)
    for kind in ("images", "masks"):
        for index, path in enumerate(sorted((folder / kind).iterdir())):
            path.rename(path.with_name(f"synthetic-{index:06d}.png"))


def foreign_manifest(folder: Path, phantom: Path) -> None:
    foreign_pictures(folder, phantom)
    (folder / "manifest.jsonl").write_text('{"audio_filepath": "a.wav"}\n')


def empty_manifest(folder: Path, phantom: Path) -> None:
    foreign_pictures(folder, phantom)
    (folder / "manifest.jsonl").write_text("")


@pytest.mark.parametrize("make", [foreign_pictures, foreign_manifest, empty_manifest])
def test_synthesize_leaves_other_peoples_folders_alone(
    syndiff, phantom: Path, split: Path, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    make(tmp_path / "theirs", phantom)
    before = content(tmp_path / "theirs")
    command = ["synthesize", "--data", phantom, "--split", split, "--count", "1", *COPY]
    outcome = syndiff(*command, "--out", tmp_path / "theirs")
    assert outcome.status == 2 and "theirs" in outcome.err
    assert content(tmp_path / "theirs") == before


def test_a_picture_put_into_a_synthetic_folder_is_not_removed(
    syndiff, phantom: Path, split: Path, tmp_path: Path
) -> None:
    command = ["synthesize", "--data", phantom, "--split", split, "--out", tmp_path / "synthetic", *COPY]
    assert syndiff(*command, "--count", "1").status == 0
    mine = tmp_path / "synthetic" / "images" / "synthetic-mine.png"
    mine.write_bytes(b"by hand")
    outcome = syndiff(*command, "--count", "2")
    assert outcome.status == 2 and "synthetic-mine.png" in outcome.err and mine.read_bytes() == b"by hand"


def test_what_was_changed_in_a_synthetic_folder_is_kept_or_told(
    syndiff, phantom: Path, split: Path, tmp_path: Path
) -> None:
    folder, run = tmp_path / "synthetic", tmp_path / "run"
    command = ["synthesize", "--data", phantom, "--split", split, "--out", folder, *COPY, "--count"]
    train = ["train", "--data", phantom, "--split", split, "--synthetic", folder, *TINY]
    assert syndiff(*command, 2).status == 0
    corrected = folder.joinpath("captions.csv").read_text().replace(" a ", " one ") + "\n"
    (folder / "captions.csv").write_text(corrected)
    assert syndiff(*command, 2).status == 0 and (folder / "captions.csv").read_text() == corrected
    assert syndiff(*train, "--out", run).status == 0

    # another picture is another training; one that the split holds back, or that no manifest tells of, is none
    picture = min((folder / "images").iterdir())
    painted = picture.read_bytes()
    Image.fromarray(np.asarray(Image.open(picture))[::-1]).save(picture)
    assert "data.synthetic" in syndiff(*train, "--out", run).err
    held_out = json.loads(split.read_text())["test"][0]
    shutil.copy(phantom / "images" / f"{held_out}.png", picture)
    assert "keeps for validation or test" in syndiff(*train, "--out", tmp_path / "other").err
    picture.write_bytes(painted)
    for kind in ("images", "masks"):
        shutil.copy(phantom / kind / f"{held_out}.png", folder / kind / "extra.png")
    tables = {name: (folder / name).read_bytes() for name in ("captions.csv", "groups.csv")}
    for name in tables:
        (folder / name).write_bytes(tables[name] + b"extra,extra\n")
    assert "extra is in one of the two only" in syndiff(*train, "--out", tmp_path / "other").err
    for kind in ("images", "masks"):
        (folder / kind / "extra.png").unlink()
    for name, before in tables.items():
        (folder / name).write_bytes(before)
    assert syndiff(*command, 3).status == 0
    assert (folder / "captions.earlier-1.csv").read_text() == corrected
    picture.unlink()
    for count in (3, 4):
        outcome = syndiff(*command, count)
        assert outcome.status == 2 and picture.stem in outcome.err and (folder / "dataset.json").is_file()


@pytest.mark.parametrize("verb", ["train", "adapt", "synthesize", "run", "demo", "study"])
def test_a_folder_of_something_else_is_refused_and_one_in_use_too(
    syndiff, phantom: Path, split: Path, tmp_path: Path, verb: str
) -> None:
    out = tmp_path / "out"
    data = ["--data", phantom]
    command = {
        "train": ["train", *data, "--split", split, *TINY],
        "adapt": ["adapt", *data, "--split", split, "--minutes", "0.01"],
        "synthesize": ["synthesize", *data, "--split", split, "--count", "1", *COPY],
        "run": ["run", *data, *TINY, "run.minutes=0", "synthesis.inpainter=copy_paste"],
        "demo": ["demo", *TINY, "run.minutes=0", "synthesis.inpainter=copy_paste"],
        "study": ["study", "baselines", *data, "--kinds", "diffusion", *TINY, "run.minutes=0"],
    }[verb]
    if verb == "demo":
        shutil.copytree(phantom, tmp_path / "out-phantom")  # it is there: nothing to render
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    outcome = syndiff(*command, "--out", out)
    assert outcome.status == 2 and "thesis.txt" in outcome.err and content(out) == {"thesis.txt": b"years of work"}
    (out / "thesis.txt").unlink()
    with locked(out):
        outcome = syndiff(*command, "--out", out)
        assert outcome.status == 2 and "in use by process" in outcome.err
        assert [path.name for path in out.iterdir()] == [".lock"]


def test_an_evaluation_that_cannot_be_keeps_the_earlier_one(
    syndiff, phantom: Path, split: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert syndiff("train", "--data", phantom, "--split", split, "--out", run, *TINY).status == 0
    (run / "checkpoints" / "notes.txt").write_text("mine")
    command = ["evaluate", "--run", run, "--data", phantom]
    assert syndiff(*command).status == 0
    before = content(run / "eval")
    for tolerance in ("inf", "nan", "-1"):
        outcome = syndiff(*command, "--tolerance", tolerance)
        assert outcome.status == 2 and "tolerance" in outcome.err
    with locked(next((run / "eval").iterdir())):
        assert "in use by process" in syndiff(*command, "--tolerance", "3").err
    assert content(run / "eval") == before
    table = next((run / "eval").rglob("per_case.csv"))
    table.write_bytes(table.read_bytes().replace(b"0.", b"0.1"))  # as after a kill between the table and its summary
    assert syndiff(*command).status == 0
    summary = json.loads((table.parent / "summary.json").read_text())
    assert summary["per_case"] == sha256(table) and summary["tolerance"] == 2.0, "judged anew"

    # what was edited since is judged anew; what is another dataset's is not replaced
    results = table.parent
    (results / "summary.json").write_text(json.dumps({**summary, "metrics": {**summary["metrics"], "dice": None}}))
    mask = next((results / "masks").iterdir())
    right = mask.read_bytes()
    mask.write_bytes(b"edited")
    assert syndiff(*command).status == 0
    assert json.loads((results / "summary.json").read_text())["metrics"] == summary["metrics"]
    assert mask.read_bytes() == right
    for name, shade in (("x", 40), ("y", 90)):  # two centres of one name
        for kind, value in (("images", shade), ("masks", 255)):
            (tmp_path / name / kind).mkdir(parents=True)
            Image.new("L", (40, 40), value).save(tmp_path / name / kind / "a.png")
        (tmp_path / name / "dataset.json").write_text('{"name": "centre", "mask_threshold": 127}')
    external = ["evaluate", "--run", run, "--external", "--data"]
    assert syndiff(*external, tmp_path / "x").status == 0
    before = content(run / "eval" / "centre")
    outcome = syndiff(*external, tmp_path / "y")
    assert outcome.status == 2 and "another dataset" in outcome.err and content(run / "eval" / "centre") == before
