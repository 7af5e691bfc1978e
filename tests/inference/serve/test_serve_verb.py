"""`syndiff serve` as a process: what it prints, how it ends, and what it refuses before it starts."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from syndiff.errors import SyndiffError
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.server import listening_socket


def test_it_says_its_address_answers_and_ends_with_ctrl_c(runs: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "syndiff", "serve", "--run", *map(str, runs), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"SynDiff serves 2 models\. Open (http://127\.0\.0\.1:\d+/)\n", line)
            assert found, line
            with urllib.request.urlopen(found[1], timeout=30) as page:
                assert b"<title>SynDiff" in page.read()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert told == "Stopped. Pictures and masks were in memory only; saved reviews are on the disk.\n"


def test_a_port_in_use_is_a_sentence(syndiff, runs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = syndiff("serve", "--run", runs[0], "--port", port)
    assert outcome.status == 2 and f"Port {port} is in use" in outcome.err and "--port 0" in outcome.err


def test_answers_are_sent_without_delay() -> None:
    """asyncio turns Nagle's algorithm off only for sockets that name their protocol; else each answer waits 40 ms."""
    with listening_socket("127.0.0.1", 0) as made:
        assert made.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--port", "70000"], "--port is 70000"),
        (["--host", "192.0.2.77"], "192.0.2.77 is no address of this machine"),
        (["--token", "short"], "--token has 5 characters"),
        (["--images", "nowhere"], "--images nowhere is no folder"),
    ],
)
def test_mistakes_are_sentences(syndiff, runs, more, said) -> None:
    outcome = syndiff("serve", "--run", runs[0], *more)
    assert outcome.status == 2 and said in outcome.err and "Traceback" not in outcome.err


def test_a_folder_without_a_model_or_without_images_is_a_sentence(syndiff, runs, tmp_path) -> None:
    assert "holds no trained model" in syndiff("serve", "--run", tmp_path).err
    outcome = syndiff("serve", "--run", runs[0], "--images", tmp_path)
    assert outcome.status == 2 and "holds no images" in outcome.err


def copy(run: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in run.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def test_models_of_one_name_are_told_apart(runs, tmp_path) -> None:
    same = (copy(runs[0], tmp_path / "a" / "real"), copy(runs[1], tmp_path / "b" / "real"))
    assert Models((*same, runs[0], same[0])).names == ["a/real", "b/real", "one"]
    with pytest.raises(SyndiffError, match="17 models are given"):
        Models(tuple(copy(runs[0], tmp_path / f"m{number}") for number in range(17)))


def test_a_folder_of_run_offers_its_segmenters(runs, tmp_path) -> None:
    for arm, source in zip(("control", "real"), runs, strict=True):
        copy(source, tmp_path / "run" / arm / "checkpoints" / "00000007")
        (tmp_path / "run" / arm / "checkpoints" / "best").write_text("00000007", encoding="utf-8")
    (tmp_path / "run" / "inpainter").mkdir()
    models = Models((tmp_path / "run",))
    assert models.names == ["control", "real"]
    assert models.described()[0] == {"id": 0, "name": "control", "kind": "diffusion", "guarantees": {}}
