"""Verbs on a real Ray cluster of two workers give what one process gives, also where workers are killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from squares import Squares, die, divide

from syndiff.errors import SyndiffError
from syndiff.files import claimed, signed, write_json
from syndiff.models.prediction import model_description
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.tensors import trainable_state, write_tensors
from syndiff.studies.engine import run_study
from syndiff.workers import cluster as rays
from syndiff.workers.settings import Ray

Command = Callable[..., Any]
"""The command line in this process: status, out and err."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two workers. What this process does with --ray is done there, for it is connected already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rays, "_cores", lambda needed: 2)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        with rays.connected(Ray()):
            import ray

            yield ray.get_runtime_context().gcs_address


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def worker_at_work(out: Path) -> int:
    """The process that makes a part, once there is one."""
    while True:
        for lock in out.glob(".syndiff-parts/*/.lock"):
            try:
                words = lock.read_text().split()
            except FileNotFoundError:
                continue
            if len(words) == 4 and Path("/proc", words[1]).exists():  # else one that a stopped worker left
                return int(words[1])
        threading.Event().wait(0.01)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.usefixtures("address")
def test_after_ctrl_c_and_with_a_killed_worker_the_synthetic_cases_are_the_same(
    syndiff: Command, phantom: Path, tmp_path: Path
) -> None:
    hit: list[int] = []

    def hit_worker(number: int) -> None:
        worker = worker_at_work(tmp_path / "out")
        os.kill(os.getpid() if number == signal.SIGINT else worker, number)
        hit.append(worker)

    def synthesize(out: str, count: int, *more: object, meanwhile: int = 0) -> Any:
        if meanwhile:
            threading.Thread(target=hit_worker, args=[meanwhile], daemon=True).start()
        given = ("--inpainter", "copy_paste", "--gates", "report", "--count", count)
        return syndiff("synthesize", "--data", phantom, "--out", tmp_path / out, *given, *more)

    assert synthesize("whole", 12).status == 0
    stopped = synthesize("out", 12, "--ray", meanwhile=signal.SIGINT)
    assert stopped.status == 130 and "Stopped. What is finished is kept" in stopped.err, stopped.err
    while Path("/proc", str(hit[0])).exists():
        threading.Event().wait(0.01)
    made = synthesize("out", 12, "--ray", meanwhile=signal.SIGKILL)
    assert made.status == 0 and len(hit) == 2 and hit[1] != os.getpid(), made.err
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert synthesize("out", 14, "--ray").status == synthesize("whole", 14).status == 0  # asked for more, it goes on
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.cluster
def test_another_process_works_by_the_address(address: str, tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from squares import divide
from syndiff.workers.cluster import on_ray
from syndiff.workers.settings import Ray
with on_ray(Ray({address!r}), Path({str(tmp_path)!r})) as workers:
    print(list(workers.map(divide, [1, 2, 4])))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[1.0, 0.5, 0.25]\n", "")
    assert list(tmp_path.iterdir()) == []


def write_images(folder: Path) -> None:
    """Pictures, a stack of three pages, and a file that is damaged."""
    folder.mkdir()
    draw = np.random.default_rng(0).integers
    pictures = [Image.fromarray(draw(0, 255, (20, 24, 3), dtype=np.uint8)) for _ in range(7)]
    for number, picture in enumerate(pictures[:4]):
        picture.save(folder / f"{number}.png")
    pages = [picture.convert("L") for picture in pictures[4:]]
    pages[0].save(folder / "1b.tif", save_all=True, append_images=pages[1:])
    (folder / "2b.png").write_bytes((folder / "2.png").read_bytes()[:300])


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.usefixtures("address")
def test_masks_their_record_and_their_table_are_the_same(syndiff: Command, tmp_path: Path) -> None:
    settings = SegmenterSettings(image_size=32, pretrained=False, condition_channels=8, denoiser_channels=8)
    model = initialise(settings, 0)
    write_tensors(tmp_path / "run" / "model.safetensors", trainable_state(model))
    write_json(tmp_path / "run" / "model.json", model_description(settings, model, step=7, val_dice=0.5))
    images = tmp_path / "images"
    write_images(images)

    def predict(out: str, *more: object) -> Any:
        told = syndiff(
            "predict", "--run", tmp_path / "run", "--images", images, "--out", tmp_path / out, "--overlay", *more
        )
        return replace(told, out=told.out.replace(str(tmp_path / out), "OUT"), err="")

    with claimed(tmp_path / "there", "a folder of predictions"):
        assert predict("there", "--ray").status == 2  # two owners
    assert predict("there", "--ray") == predict("here") and predict("here").status == 1  # the damaged one
    assert content(tmp_path / "there") == content(tmp_path / "here")
    for out in ("there", "here"):
        (tmp_path / out / "3.png").unlink()
        (tmp_path / out / "1.png").write_bytes(b"mine")
    (images / "2b.png").write_bytes((images / "2.png").read_bytes())
    assert predict("there", "--ray") == predict("here")
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.cluster
@pytest.mark.usefixtures("address")
def test_a_study_is_the_same_and_a_refusal_in_a_worker_keeps_its_words(tmp_path: Path) -> None:
    alone = run_study(Squares(out=tmp_path / "alone"))
    assert run_study(Squares(out=tmp_path / "ray", ray="local", dying=2)) == alone
    for record in (tmp_path / "ray" / "cells").glob("*/cell.json"):
        assert f'"folder": "{Path.cwd()}"' in record.read_text() and '"threads": "1"' in record.read_text()
    assert (tmp_path / "ray" / "cells" / "2" / "died").exists()
    with pytest.raises(SyndiffError, match=r"^a root of nothing$"):
        run_study(Squares(out=tmp_path / "wrong", ray="local", numbers=(1, -1, 2)))
    assert (tmp_path / "wrong" / "cells" / "1" / "cell.json").is_file()
    with pytest.raises(SyndiffError, match="--workers has no effect with --ray"):
        run_study(Squares(out=tmp_path / "both", ray="local", workers=2))


@pytest.mark.cluster
@pytest.mark.usefixtures("address")
def test_what_always_dies_is_given_up_and_a_fault_brings_its_traceback(tmp_path: Path) -> None:
    with signed(tmp_path) as sign:
        workers = rays.Cluster(1, sign)
        assert workers.at_once == 2
        assert list(workers.map(divide, iter([1, 2, 4]), ahead=1)) == [1, 0.5, 0.25]
        with pytest.raises(SyndiffError, match="died 4 times over the same task"):
            list(workers.map(die, [1]))
        with pytest.raises(ZeroDivisionError) as caught:
            list(workers.map(divide, [1, 0]))
        assert "in divide" in caught.value.__notes__[0]
    with pytest.raises(SyndiffError, match=f"does not see {tmp_path}"):
        list(workers.map(divide, [1]))


def test_wrong_options_and_a_missing_library_are_told(
    syndiff: Command, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*options: object) -> str:
        told = syndiff("synthesize", "--data", phantom, "--out", tmp_path / "out", "--count", 3, *options)
        assert told.status == 2 and not (tmp_path / "out").exists()
        return told.err

    assert "expected nothing (for this machine), auto, HOST:PORT" in refused("--ray", "nowhere")
    assert "--ray-cpus is 0" in refused("--ray-cpus", 0, "--ray")
    assert "--ray-cpus has no effect without --ray" in refused("--ray-cpus", 2)
    assert "--shard 1/2 has no effect with --ray" in refused("--ray", "--shard", "1/2")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "ray is not installed; this needs it: pip install 'syndiff[ray]'" in refused("--ray")
