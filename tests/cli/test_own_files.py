"""Whatever has become of a file that SynDiff wrote: a sentence that says so, or an answer; never a traceback."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from damage import damaged
from syndiff.config.loading import load_settings
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split, make_split
from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.inference.predict import Predicted, predict
from syndiff.phantom import write_phantom
from syndiff.pipeline.evaluation import evaluate
from syndiff.pipeline.training import train
from syndiff.studies.scoring import diffusion_settings
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.gates.panel import Gates
from syndiff.synthesis.gates.settings import GatesSettings
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.training.checkpoints import best_checkpoint, find_checkpoint
from tiny_commands import SMALL

MODEL = (*SMALL, "model.inference_tta=1", "model.denoiser_channels=16", "model.condition_channels=16")
SHORT = ("training.steps=2", "training.batch_size=2")


@dataclass(frozen=True)
class Place:
    """A dataset, a finished run with its evaluation, and synthetic cases."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def synthetic(self) -> Path:
        return self.root / "synthetic"

    def train(self) -> str:
        chosen = load_settings("compact", None, [*MODEL, *SHORT])
        return str(train(self.data, self.run, split=self.root / "split.json", settings=chosen))

    def evaluate(self) -> str:
        return str(evaluate(self.run, self.data))

    def predict(self) -> Predicted:
        image = min((self.data / "images").iterdir())
        return predict(self.run, image, self.root / "masks")

    def study(self) -> None:
        diffusion_settings(self.run, best_checkpoint(self.run))

    def synthesize(self) -> None:
        dataset, split = Dataset.open(self.data), Split.read(self.root / "split.json")
        chosen = GatesSettings(mode="report", checks=("contrast",))
        kept = self.synthetic / "gates.json"
        gates = Gates.calibrate(dataset, split.train[:3], chosen, kept=kept, progress=False)
        plain, cases = SynthesisSettings(), split.train[:3]
        synthesize_cases(
            dataset, cases, CopyPaste(), self.synthetic, plain, count=2, least=0, seed=0, gates=gates, progress=False
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("own"))
    write_phantom(place.data, groups=3, frames=2, height=64, width=80, seed=0)
    make_split(Dataset.open(place.data), seed=0).write(place.root / "split.json")
    place.train()
    place.evaluate()
    place.synthesize()
    return place


@contextmanager
def copied(place: Place) -> Iterator[Place]:
    """A copy whose files may be replaced, not written into."""
    with tempfile.TemporaryDirectory(dir=place.root.parent) as folder:
        yield Place(Path(shutil.copytree(place.root, Path(folder) / "copy", copy_function=os.link)))


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


LAST = "run/checkpoints/000002"
READERS: dict[str, tuple[Callable[[Place], object], ...]] = {
    "split.json": (Place.train,),
    "run/split.json": (Place.evaluate,),
    "run/config.yaml": (Place.train, Place.evaluate),
    "run/metrics.jsonl": (Place.train,),
    "run/checkpoints/last": (Place.train,),
    "run/checkpoints/best": (Place.predict, Place.train),
    f"{LAST}/model.json": (Place.predict, Place.study, Place.train),
    f"{LAST}/training_state/progress.json": (Place.train,),
    "run/eval/syndiff-phantom/summary.json": (Place.evaluate,),
    "synthetic/manifest.jsonl": (Place.synthesize,),
    "synthetic/gates.json": (Place.synthesize,),
}


@pytest.mark.slow
@pytest.mark.parametrize("file", READERS)
def test_a_damaged_file_is_a_sentence_or_does_no_harm(finished: Place, file: str) -> None:
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(content=damaged(finished.root / file), reader=st.sampled_from(READERS[file]))
    def check(content: bytes, reader: Callable[[Place], object]) -> None:
        with copied(finished) as place:
            replace(place.root / file, content)
            try:
                reader(place)
            except SyndiffError as error:
                assert len(str(error)) < 1500

    check()


def block_of_ff(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\xff" * 4096
    replace(path, bytes(content))


def rewritten(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        tensors = {name: change(value) for name, value in load_file(path).items()}
        path.unlink()
        save_file(tensors, path)

    return damage


def one_more(path: Path) -> None:
    tensors = {**load_file(path), "backdoor.weight": torch.zeros(3)}
    path.unlink()
    save_file(tensors, path)


DAMAGES = {
    "a block of ff": (block_of_ff, "no finite numbers"),
    "nan": (rewritten(lambda t: torch.full_like(t, torch.nan) if t.is_floating_point() else t), "no finite numbers"),
    "int8": (rewritten(lambda t: t.to(torch.int8)), "stored as int8, expected floating point"),
    "an extra tensor": (one_more, "does not fit the network: 1 tensors differ"),
    "other numbers": (rewritten(lambda t: t * 2 if t.is_floating_point() else t), ""),
}


@pytest.mark.parametrize("hashed", [True, False], ids=["hashed", "of before the hash"])
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_weights_are_refused(finished: Place, name: str, hashed: bool) -> None:
    damage, words = DAMAGES[name]
    with copied(finished) as place:
        checkpoint = find_checkpoint(place.run, "best")
        damage(checkpoint / "model.safetensors")
        if not hashed:
            described = read_json(checkpoint / "model.json")
            replace(checkpoint / "model.json", b"")
            write_json(checkpoint / "model.json", {key: value for key, value in described.items() if key != "sha256"})
        if not hashed and not words:
            place.predict()  # nothing tells these from a model that was trained worse
            return
        with pytest.raises(SyndiffError, match=r"model\.safetensors") as refused:
            place.predict()
        assert (words if not hashed else "its SHA-256 is not the one noted") in str(refused.value)
        assert not (place.root / "masks").exists()


def test_an_answer_that_is_no_number_names_the_run_and_the_case(finished: Place, monkeypatch) -> None:
    """The weights are finite, what they compute is not."""
    with copied(finished) as place:
        checkpoint = find_checkpoint(place.run, "best")
        tensors = load_file(checkpoint / "model.safetensors")
        huge = {
            k: v.sign() * 3e38 if k.startswith("denoiser") and k.endswith("weight") else v for k, v in tensors.items()
        }
        (checkpoint / "model.safetensors").unlink()
        save_file(huge, checkpoint / "model.safetensors")
        described = read_json(checkpoint / "model.json")
        (checkpoint / "model.json").unlink()
        write_json(checkpoint / "model.json", {key: value for key, value in described.items() if key != "sha256"})
        (problem,) = place.predict().problems
        assert re.search(r"run does not answer for sequence-001-frame-001: .*no finite numbers", problem)
        assert not list((place.root / "masks").glob("*.png"))


def test_the_command_line_says_it_in_one_sentence(finished: Place, syndiff) -> None:
    with copied(finished) as place:
        replace(place.run / "config.yaml", b"[" * 3000)
        outcome = syndiff(
            *("train", "--data", place.data, "--split", place.root / "split.json", "--out", place.run),
            *("--set", *MODEL, *SHORT),
        )
    assert outcome.status == 2 and "Traceback" not in outcome.err
    assert "run/config.yaml is not valid YAML (nested" in outcome.err.splitlines()[-1]
