"""Verbs on a real Ray cluster of two workers give what one process gives, also where processes are killed."""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from squares import Squares, die, divide, sleep

from syndiff.errors import SyndiffError
from syndiff.files import claimed, write_json
from syndiff.models.prediction import model_description
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.tensors import trainable_state, write_tensors
from syndiff.studies.engine import run_study
from syndiff.workers import cluster as rays
from syndiff.workers.settings import Ray
from syndiff.workers.task import Job, do_task, versions
from tiny_commands import ENCODER

Command = Callable[..., Any]
"""The command line in this process: status, out and err."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two workers, to which each test and each of its commands connects by itself."""
    pytest.importorskip("ray", reason="ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rays, "_cores", lambda needed: 2)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        with rays.connected(Ray()) as driver:
            yield driver.address


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
        threading.Event().wait(0.001)


@pytest.mark.slow
@pytest.mark.timeout(600)  # five workers import torch
def test_after_ctrl_c_and_with_a_killed_worker_the_synthetic_cases_are_the_same(
    syndiff: Command, phantom: Path, tmp_path: Path, address: str
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

    stopped = synthesize("out", 40, "--ray", address, meanwhile=signal.SIGINT)
    assert stopped.status == 130 and "Stopped. What is finished is kept" in stopped.err, stopped.err
    while Path("/proc", str(hit[0])).exists():
        threading.Event().wait(0.01)
    made = synthesize("out", 44, "--ray", address, meanwhile=signal.SIGKILL)  # asked for more, it goes on
    assert made.status == 0 and len(hit) == 2 and hit[1] != os.getpid(), made.err
    assert synthesize("whole", 44).status == 0
    assert content(tmp_path / "out") == content(tmp_path / "whole")


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


@pytest.mark.slow
def test_masks_their_record_and_their_table_are_the_same(syndiff: Command, tmp_path: Path, address: str) -> None:
    settings = SegmenterSettings(
        image_size=32, encoder=ENCODER, pretrained=False, inference_tta=1, condition_channels=8, denoiser_channels=8
    )
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
        assert predict("there", "--ray", address).status == 2  # two owners
    assert predict("there", "--ray", address) == predict("here") and predict("here").status == 1  # the damaged one
    assert content(tmp_path / "there") == content(tmp_path / "here")
    for out in ("there", "here"):
        (tmp_path / out / "3.png").unlink()
        (tmp_path / out / "1.png").write_bytes(b"mine")
    (images / "2b.png").write_bytes((images / "2.png").read_bytes())
    assert predict("there", "--ray", address) == predict("here")
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_a_study_is_the_same_and_a_refusal_in_a_worker_keeps_its_words(tmp_path: Path, address: str) -> None:
    alone = run_study(Squares(out=tmp_path / "alone"))
    assert run_study(Squares(out=tmp_path / "ray", ray=address, dying=2)) == alone
    for record in (tmp_path / "ray" / "cells").glob("*/cell.json"):
        assert f'"folder": "{Path.cwd()}"' in record.read_text() and '"threads": "1"' in record.read_text()
    assert (tmp_path / "ray" / "cells" / "2" / "died").exists()
    with pytest.raises(SyndiffError, match=r"^a root of nothing$"):
        run_study(Squares(out=tmp_path / "wrong", ray=address, numbers=(1, -1, 2)))
    assert (tmp_path / "wrong" / "cells" / "1" / "cell.json").is_file()
    with pytest.raises(SyndiffError, match="--workers has no effect with --ray"):
        run_study(Squares(out=tmp_path / "both", ray=address, workers=2))


def test_results_come_in_order_and_a_lost_connection_is_told(
    tmp_path: Path, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ray ends the process that is connected to it, without a word, when something is wrong."""
    with rays.on_ray(Ray(address), tmp_path) as workers:
        assert workers.at_once == 2
        assert list(workers.map(divide, iter([1, 2, 4]), ahead=1)) == [1, 0.5, 0.25]
        assert capfd.readouterr() == ("", "")
        done = workers.map(sleep, [0, 600])
        assert next(done) == 0
        workers._driver._process.kill()
        with pytest.raises(SyndiffError, match=r"connection to the Ray cluster is lost.*the same command goes on\.$"):
            next(done)
    assert list(tmp_path.iterdir()) == []


def test_what_always_dies_is_given_up(tmp_path: Path, address: str) -> None:
    with (
        rays.on_ray(Ray(address), tmp_path) as workers,
        pytest.raises(SyndiffError, match="died 4 times over the same task"),
    ):
        list(workers.map(die, [1]))


def test_a_fault_brings_its_traceback_and_stops_what_is_under_way(tmp_path: Path, address: str) -> None:
    with rays.on_ray(Ray(address), tmp_path) as workers, pytest.raises(ZeroDivisionError) as caught:
        list(workers.map(divide, [0, *range(100, 200)]))
    assert "in divide" in caught.value.__notes__[0]


def test_a_machine_that_does_not_see_the_folder_or_has_other_versions_is_named(tmp_path: Path) -> None:
    cloudpickle = pytest.importorskip("ray.cloudpickle", reason="ray is not installed")

    def refused(job: Job) -> str:
        failed = cloudpickle.loads(do_task(job, (), b""))
        assert isinstance(failed.error, SyndiffError)
        return str(failed.error)

    job = Job("key", tmp_path / "sign", Path.cwd(), "another machine", 1, versions())
    assert f"{platform.node()}, a machine of the Ray cluster, does not see {tmp_path}" in refused(job)
    assert "does not see /nowhere" in refused(replace(job, home=Path("/nowhere")))
    assert f"torch {versions()['torch']} there, 0.1 here" in refused(
        replace(job, versions=versions() | {"torch": "0.1"})
    )


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    script = f"""
from pathlib import Path
from squares import sleep
from syndiff.workers.cluster import on_ray
from syndiff.workers.settings import Ray
with on_ray(Ray(), Path({str(tmp_path)!r})) as workers:
    done = workers.map(sleep, [0, 600])
    print(next(done), workers._driver._process.pid, flush=True)
    next(done)
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as temporary:  # short, as a socket's name must be
        command = [sys.executable, "-c", script]
        environment = os.environ | {"PYTHONPATH": path, "TMPDIR": temporary}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            first, driver = process.stdout.readline().split()
            assert first == "0" and [path.name[:4] for path in Path(temporary).iterdir()] == ["ray-"]
            process.kill()
        while Path("/proc", driver).exists() or any(Path(temporary).iterdir()):
            threading.Event().wait(0.05)


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
