"""An exported model answers as its run does, whichever engine computes it; what does not fit is refused."""

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from syndiff.cli import main
from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.inference.engines import ExportEngineName
from syndiff.inference.exported import read_card
from syndiff.inference.load import load
from syndiff.models.prediction import model_description
from syndiff.models.predictor import Start
from syndiff.models.segmenter import initialise
from syndiff.models.settings import BaselineKind, SegmenterSettings
from syndiff.models.stored import write_model
from syndiff.models.tensors import trainable_state
from syndiff.training.checkpoints import best_checkpoint

SIZE = 64
KINDS = ("diffusion", "control", *get_args(BaselineKind))
ENGINES = get_args(ExportEngineName)
TIMM = importlib.util.find_spec("timm") is not None


def write_checkpoint(folder: Path, **changes) -> Path:
    settings = SegmenterSettings(image_size=SIZE, pretrained=False, inference_tta=2, **changes)
    model = initialise(settings, 0)
    write_model(folder, trainable_state(model), model_description(settings, model, step=7, val_dice=0.5))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A checkpoint of each kind; of a segmenter of several steps too, whose steps are all in the graph.

    Where timm is installed, the control has a hierarchical network of it, and that of several steps a transformer.
    """
    root = tmp_path_factory.mktemp("runs")
    small = {"condition_channels": 8, "denoiser_channels": 8, "autoencoder": "mask"}
    for kind in KINDS:
        of_kind = {"diffusion": small, "control": {"encoder": "timm:test_convnext"} if TIMM else {}}
        write_checkpoint(root / kind, kind=kind, **of_kind.get(kind, {}))
    write_checkpoint(root / "steps", inference_steps=3, **small, **({"encoder": "timm:test_vit"} if TIMM else {}))
    return root


@pytest.fixture(scope="module")
def exported(runs):
    """The export of a kind, made when a test first asks for it."""

    def of(kind: str) -> Path:
        if not (runs / kind / "export" / "export.json").exists():
            main(["export", "--run", str(runs / kind)])
        return runs / kind / "export"

    return of


def picture(height: int = 70, width: int = 50, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "steps"])
def test_every_engine_answers_as_torch(runs, exported, kind):
    here = load(runs / kind, engine="torch")
    for engine in ENGINES:
        there = load(exported(kind), engine=engine)
        for tta, case_id in ((None, "a"), (1, "b"), (8, "c")):
            here.tta = there.tta = tta or 2
            mine, other = (each.predict(picture(), case_id=case_id) for each in (here, there))
            assert mine.probability.shape == other.probability.shape == (70, 50)
            assert np.abs(mine.probability - other.probability).max() < 1e-4
            assert mine.latents.shape == other.latents.shape
            if here.tta > 1:  # of masks, in which a pixel at the threshold may fall on either side
                assert mine.disagreement == pytest.approx(other.disagreement, abs=0.01)
            else:
                assert mine.disagreement is None


@pytest.mark.slow
@pytest.mark.parametrize("engine", [*ENGINES, "torch"])
class TestContract:
    @pytest.fixture
    def predictor(self, runs, exported, engine):
        return load(runs / "diffusion" if engine == "torch" else exported("diffusion"), engine=engine, tta=1)

    def test_a_case_has_one_answer_whatever_came_before(self, predictor):
        first = predictor.predict(picture(seed=1), case_id="a").probability
        predictor.predict(picture(40, 30, seed=2), case_id="b")
        assert np.array_equal(first, predictor.predict(picture(seed=1), case_id="a").probability)
        assert not np.array_equal(first, predictor.predict(picture(seed=1), case_id="b").probability)

    def test_a_picture_can_be_given_by_its_path(self, predictor, tmp_path):
        Image.fromarray(picture()).save(tmp_path / "case 1.png")
        one, two = predictor.predict(tmp_path / "case 1.png"), predictor.predict(picture(), case_id="case 1")
        assert np.array_equal(one.probability, two.probability)
        with pytest.raises(SyndiffError, match="does not exist"):
            predictor.predict(str(tmp_path / "no.png"))

    def test_sixteen_bits_count_as_eight(self, predictor):
        deep = picture().astype(np.uint16) * 257
        same = [predictor.predict(each, case_id="a").probability for each in (picture(), deep)]
        assert np.array_equal(*same)

    def test_it_starts_from_a_latent_at_a_timestep(self, predictor):
        first = predictor.predict(picture(), case_id="a")
        latent = 0.9 * first.latents + 0.4 * np.ones_like(first.latents)
        later = predictor.predict(picture(), case_id="a", start=Start(latent.astype(np.float32), 200))
        assert later.latents.shape == first.latents.shape
        assert not np.array_equal(first.probability, later.probability)
        assert 0 <= later.probability.min() <= later.probability.max() <= 1

    def test_seconds_of_its_stages_are_told(self, predictor):
        seconds = predictor.predict(picture(), case_id="a").seconds
        assert next(iter(seconds)) == "preprocess" and list(seconds)[-1] == "postprocess" and min(seconds.values()) >= 0


@pytest.mark.slow
def test_what_has_no_timesteps_starts_from_none(exported):
    for kind in ("control", "steps"):
        predictor = load(exported(kind), tta=1)
        with pytest.raises(SyndiffError, match="not from a timestep"):
            predictor.predict(picture(), start=Start(np.zeros((1, *predictor.engine.noise_shape), np.float32), 5))


@pytest.mark.slow
def test_auto_takes_the_export_of_these_weights_only(runs, exported, tmp_path):
    run = Path(shutil.copytree(runs / "control", tmp_path / "run"))
    shutil.rmtree(run / "export", ignore_errors=True)
    assert load(run).engine.name == "torch"
    shutil.copytree(exported("control"), run / "export")
    assert load(run).engine.name == "onnx" and load(run, engine="torch").engine.name == "torch"
    write_checkpoint(run, kind="control", control_dropout=0.1)  # trained on
    described = read_json(run / "model.json")
    (run / "model.json").write_text(json.dumps({**described, "sha256": "0" * 64}))
    shutil.rmtree(run / "export")
    shutil.copytree(exported("control"), run / "export")
    with pytest.raises(SyndiffError):  # torch, which reads the damaged weights, and not the export
        load(run)


@pytest.mark.slow
def test_an_export_of_other_settings_or_a_damaged_one_is_not_taken_for_the_run(runs, exported, tmp_path, caplog):
    run = Path(shutil.copytree(runs / "diffusion", tmp_path / "run"))
    shutil.rmtree(run / "export", ignore_errors=True)
    shutil.copytree(exported("diffusion"), run / "export")
    card = read_card(run / "export")
    replace(card, tta=1).write(run / "export")
    assert load(run).engine.name == "onnx" and load(run).tta == 2  # the run's own
    replace(card, timestep=50).write(run / "export")
    assert load(run).engine.name == "torch" and "its timestep differ" in caplog.text
    (run / "export" / "model.onnx").write_bytes(b"")
    assert load(run).engine.name == "torch" and "The export of" in caplog.text and "SHA-256" in caplog.text


@pytest.mark.slow
def test_a_run_and_its_export_go_on_with_each_others_masks(syndiff, runs, exported, phantom, tmp_path):
    run = Path(shutil.copytree(runs / "diffusion", tmp_path / "run"))
    shutil.rmtree(run / "export", ignore_errors=True)
    shutil.copytree(exported("diffusion"), run / "export")
    for model, words in ((run / "export", "18 masks written"), (run, "18 were there already")):
        told = syndiff("predict", "--run", model, "--images", phantom / "images", "--out", tmp_path / "masks")
        assert told.status == 0 and words in told.out


@pytest.mark.slow
def test_what_an_export_cannot_do_is_refused(runs, exported):
    folder = exported("diffusion")
    for changes, words in (
        ({"engine": "torch"}, "is an export, which torch"),
        ({"timestep": 50}, "timestep 999, not 50"),
        ({"steps": 2}, "steps 1, not 2"),
        ({"tta": 3}, "1, 2, 4 or 8"),
    ):
        with pytest.raises(SyndiffError, match=words):
            load(folder, **changes)


def without(name):
    return lambda content: content["model"].pop(name)


DAMAGE = {
    "another version": (lambda content: content.update(format=2), "format 2, this version reads 1"),
    "another graph": (lambda content: content.update(onnx_sha256="0" * 64), "is not the graph"),
    "no size": (without("image_size"), "lacks 'image_size'"),
    "a size as text": (lambda content: content["model"].update(image_size="64"), "image_size"),
    "another size": (lambda content: content["model"].update(image_size=96), "but its export.json describes"),
    "another resizing": (lambda content: content["preprocessing"].update(resize="crop"), "does not do"),
    "a tta of three": (lambda content: content["model"].update(tta=3), "tta is 3"),
    "no such kind": (lambda content: content["model"].update(kind="foo"), "kind"),
    "a negative timestep": (lambda content: content["model"].update(timestep=-1), "timestep"),
    "no classes": (lambda content: content["model"].update(classes=[]), "classes"),
    "two sides": (lambda content: content["model"].update(noise_shape=[16, 8]), "noise_shape"),
    "no weights": (lambda content: content["model"]["provenance"].pop("weights_sha256"), "weights_sha256"),
    "a schedule of text": (lambda content: content["model"].update(schedule={"timesteps": "many"}), "schedule"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_description_that_does_not_fit_its_graph_is_refused(exported, tmp_path, damage):
    change, words = DAMAGE[damage]
    folder = Path(shutil.copytree(exported("diffusion"), tmp_path / "x"))
    content = read_json(folder / "export.json")
    change(content)
    (folder / "export.json").write_text(json.dumps(content))
    with pytest.raises(SyndiffError, match=words):
        load(folder)


@pytest.mark.slow
def test_a_damaged_graph_is_refused(exported, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(exported("control"), tmp_path / "x"))
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1000])
    with pytest.raises(SyndiffError, match="SHA-256 differs"):
        load(folder)
    read_card(exported("control")).write(folder)  # a description of the damaged file
    for engine in ENGINES:
        with pytest.raises(SyndiffError, match=f"cannot be loaded by {engine}"):
            load(folder, engine=engine)
    graph.unlink()
    with pytest.raises(SyndiffError, match="is missing"):
        load(folder)
    with pytest.raises(SyndiffError, match="give the run that it was made from"):
        best_checkpoint(folder)


@pytest.mark.slow
def test_predicting_with_an_export_needs_no_torch(syndiff, runs, exported, phantom, tmp_path):
    folder, out = exported("control"), tmp_path / "masks"
    words = ["predict", "--run", folder, "--images", phantom / "images", "--out", out]
    script = f"import sys\nfrom syndiff.cli import main\nmain({[*map(str, words)]})\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert len(list(out.glob("*.png"))) == 18
    outcome = syndiff("predict", "--run", folder, "--images", phantom / "images", "--out", out, "--tta", 1)
    assert outcome.status == 2 and "tta was 2 and is now 1" in outcome.err


def test_a_folder_of_something_else_is_not_written_into(syndiff, runs, phantom):
    outcome = syndiff("export", "--run", runs / "control", "--out", phantom)
    assert outcome.status == 2 and "not an exported model" in outcome.err


def test_int8_asks_for_the_dataset_and_the_run(syndiff, runs, phantom):
    outcome = syndiff("export", "--run", runs / "control", "--int8")
    assert outcome.status == 2 and "--data" in outcome.err
    outcome = syndiff("export", "--run", runs / "control", "--data", phantom)
    assert outcome.status == 2 and "--int8 only" in outcome.err


@pytest.mark.slow
def test_int8_is_smaller_and_says_what_it_costs(syndiff, runs, phantom, tmp_path, monkeypatch, caplog):
    run = Path(shutil.copytree(runs / "diffusion", tmp_path / "run"))
    outcome = syndiff("export", "--run", run, "--int8", "--data", phantom)
    assert outcome.status == 2 and "split.json" in outcome.err
    make_split(Dataset.open(phantom)).write(run / "split.json")
    outcome = syndiff("export", "--run", run, "--int8", "--data", phantom)
    assert outcome.status == 0 and "in float32" in outcome.out and "in int8" in outcome.out
    card = read_card(run / "export-int8")
    assert card.precision == "int8" and card.cost is not None and 0 <= card.cost["dice_int8"] <= 1
    assert card.provenance["split"]["method"] == "group"
    assert (run / "export-int8" / "model.onnx").stat().st_size < 8e6
    whole = load(run, engine="torch", tta=1).predict(picture(), case_id="a").probability
    monkeypatch.setattr("syndiff.inference.engines._cpu_flags", lambda: {"avx2", "avx512_vnni"})
    assert np.abs(load(run / "export-int8", tta=1).predict(picture(), case_id="a").probability - whole).mean() < 0.05
    assert "VNNI" not in caplog.text
    monkeypatch.setattr("syndiff.inference.engines._cpu_flags", lambda: {"avx2"})
    load(run / "export-int8")
    assert "no VNNI instructions: an int8 model is slower" in caplog.text
