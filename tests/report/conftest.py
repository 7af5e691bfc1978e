"""A finished run folder, small but real: written by the rooms that write such folders, with predictors that shift."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.evaluation.evaluate import evaluate
from syndiff.evaluation.timing import time_predictor
from syndiff.files import write_json, write_text
from syndiff.models.predictor import Prediction, StageClock
from syndiff.report.arms import KINDS
from syndiff.report.charts import draw
from syndiff.report.content import Content, read_content
from syndiff.synthesis.likeness import REAL
from syndiff.synthesis.manifest import Pictures, Sample, SynthesisFolder

SHIFTS = {"control": 2, "real": 3, "real+synthetic": 1}
"""How many pixels each arm's predictor is wrong by: the smaller, the better."""


class ShiftedThreshold:
    """Finds the bright lesion and puts it some pixels too low."""

    def __init__(self, name: str, shift: int) -> None:
        self.name = name
        self.shift = shift

    def predict(self, image: NDArray, *, case_id: str) -> Prediction:
        clock = StageClock()
        with clock.stage("network" if self.name == "control" else "denoise"):
            mask = np.roll(image[..., 1] > 150, self.shift, axis=0)
        return Prediction(mask, mask.astype(np.float32), clock.seconds)


def write_dataset(root: Path, *, prefix: str, groups: bool) -> Dataset:
    """Fifteen frames of 40x32 pixels with one bright ellipse each, in five groups."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :40]
    ids = [f"{prefix}{index:02d}" for index in range(15)]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for case in ids:
        y, x, radius = rng.uniform(12, 18), rng.uniform(12, 28), rng.uniform(4, 8)
        mask = (rows - y) ** 2 + ((columns - x) / 1.3) ** 2 < radius**2
        image = rng.integers(40, 90, (32, 40, 3)) + np.where(mask, 110, 0)[..., None]
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{case}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{case}.png")
    if groups:
        lines = [f"{case},{prefix}group-{index // 3}" for index, case in enumerate(ids)]
        write_text(root / "groups.csv", "\n".join(["case,group", *lines]) + "\n")
    write_json(
        root / "dataset.json", {"name": "tiny", "modality": "test pattern", "licence": "CC0", "mask_threshold": 127}
    )
    return Dataset.open(root)


def write_synthetic(folder: Path, dataset: Dataset, sources: Sequence[str]) -> None:
    """Six attempts by copy_paste, of which every third was rejected."""
    synthesis = SynthesisFolder(folder)
    for index in range(6):
        case = dataset[sources[index % len(sources)]]
        accepted = index % 3 != 2
        sample = Sample(
            id=f"synthetic-{index:05d}",
            source_case=case.id,
            mask_source=case.id,
            group=case.group,
            mask_group=case.group,
            prompt=f"a bright <ellipse> number {index}",
            negative_prompt="text",
            seed=index,
            backend={"name": "copy_paste", "model": None, "revision": None, "hash": None},
            settings={"seed": 0},
            accepted=accepted,
            reason=None if accepted else "painted black",
            lesions=[lesion(index)],
            versions={},
        )
        synthesis.add(sample, Pictures(*dataset.load(case)))
    synthesis.finish(dataset, "copy_paste")
    real = [{"group": dataset[case].group, **lesion(index + 1)} for index, case in enumerate(sources)]
    write_json(folder / REAL, {"lesions": real})


def lesion(index: int) -> dict[str, float]:
    """Measures of a lesion, each lesion larger and further off the centre."""
    return {"area": 0.02 * (1 + index), "elongation": 1.5, "distance": 0.1 * index, "edge": 0.0, "contrast": 12.0}


def write_arm(folder: Path, dataset: Dataset, test: Sequence[str], fingerprint: str) -> None:
    """An arm as training and evaluation leave it, without the checkpoints, which the report does not read."""
    predictor = ShiftedThreshold(folder.name, SHIFTS[folder.name])
    out = folder / "eval" / dataset.name
    evaluate(predictor, dataset, test, out, fingerprint=fingerprint, keep_predictions=True, progress=False)
    image, _ = dataset.load(dataset[test[0]])
    time_predictor(predictor, image, warmup=0, repeats=2, out=out / "timing.json")
    lines: list[dict] = []
    for step in (10, 20, 30):
        lines.append(
            {"step": step, "images": 4 * step, "loss": 1 / step, "losses": {}, "lr": 1e-3, "seconds": 6.0 * step}
        )
        lines.append({"step": step, "val_dice": 0.01 * step})
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    kind = "control" if folder.name == "control" else "diffusion"
    write_text(folder / "config.yaml", yaml.safe_dump(settings(kind), sort_keys=False))


def settings(kind: str) -> dict:
    return {
        "seed": 7,
        "model": {"kind": kind, "image_size": 64, "timesteps": 1000, "inference_timestep": -1, "inference_steps": 1},
        "training": {"steps": 30, "batch_size": 4},
    }


MakeRun = Callable[..., tuple[Path, Dataset]]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Write a run folder; the settings are what the tests vary. Returns it with its dataset."""

    def make(
        *, arms: Sequence[str] = KINDS, prefix: str = "case-", groups: bool = True, leaky: bool = False
    ) -> tuple[Path, Dataset]:
        root = tmp_path_factory.mktemp("report")
        dataset, run = write_dataset(root / "data", prefix=prefix, groups=groups), root / "run"
        ids = tuple(case.id for case in dataset.cases)
        split = replace(make_split(dataset, seed=0), train=ids[:6], val=ids[6:9], test=ids[9:])
        if leaky:
            split = replace(split, leaky=True, method="random-488")
        split.write(run / "split.json")
        for arm in arms:
            write_arm(run / arm, dataset, split.test, split.fingerprint)
        if "real+synthetic" in arms:
            write_synthetic(run / "synthetic", dataset, split.train)
        write_text(run / "config.yaml", yaml.safe_dump({"data": "data", **settings("diffusion")}, sort_keys=False))
        write_json(run / "environment.json", {"python": "3.11", "libraries": {"torch": "2.13.0"}})
        write_text(run / "command.txt", "syndiff run --data data --out run\n")
        return run, dataset

    return make


@pytest.fixture(scope="session")
def shared_run(make_run: MakeRun) -> tuple[Path, Dataset]:
    """The complete run folder, for tests that only read it."""
    return make_run()


@pytest.fixture
def own_run(shared_run: tuple[Path, Dataset], tmp_path: Path) -> tuple[Path, Dataset]:
    """A copy of the complete run folder, for tests that damage it."""
    run, dataset = shared_run
    return Path(shutil.copytree(run, tmp_path / "run")), dataset


@pytest.fixture(scope="session")
def content(shared_run: tuple[Path, Dataset]) -> Content:
    """What the complete run folder holds."""
    return read_content(*shared_run)


@pytest.fixture(scope="session")
def drawn(content: Content) -> dict[str, str]:
    """The charts of the complete run."""
    return draw(content)


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file in a window of a given width; in the end, no page may have complained or asked for another file."""
    contexts, said = [], []

    def opened(path: Path, *, width: int = 1280, part: str = "") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page, address = context.new_page(), path.resolve().as_uri()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith((address, "data:")) else 0)
        page.goto(address + part)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
