"""The steering study: words that change what is painted are told from words that do not."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syndiff.data.readers import to_unit
from syndiff.data.seen import Seen
from syndiff.studies import steering as study
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.inpainters.copy_paste import CopyPaste


class Obedient:
    """Paints as red, and as light, as the prompt says; `deaf` it paints the same whatever it is asked."""

    name, seen = "obedient", Seen()
    capabilities = Capabilities(batch_size=3, paints_from_text=True, reads_captions=True, reads_lesion_mask=True)

    def __init__(self, deaf: bool) -> None:
        self.deaf = deaf

    def describe(self):
        return {"name": self.name, "model": "", "revision": None, "hash": None, "learned_from": [], "settings": {}}

    def check_prompt(self, text: str) -> None:
        pass

    def inpaint(self, requests):
        painted = []
        for request in requests:
            frame = to_unit(request.image)
            around = np.median(frame[request.mask], axis=0)
            gain = np.ones(3, np.float32)
            if not self.deaf:
                gain *= 0.8 if "no brighter" in request.prompt else 1.8 if "much brighter" in request.prompt else 1.25
                gain[0] *= 0.85 if "less red than" in request.prompt else 1.2 if "redder than" in request.prompt else 1
            frame[request.mask] = np.clip(around * 0.5 * gain, 0, 1)
            painted.append(frame)
        return painted


@pytest.fixture
def ask(syndiff, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    split = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0

    def call(inpainter, *more):
        monkeypatch.setattr(study, "make_inpainter", lambda settings: inpainter)
        monkeypatch.setattr(study, "check_inpainter", lambda settings, split, dataset: None)
        out = tmp_path / "steering"
        return syndiff("study", "steering", "--data", phantom, "--split", split, "--out", out, *more), out

    return call


def test_an_obedient_painter_is_seen_to_obey(ask) -> None:
    outcome, out = ask(Obedient(deaf=False), "--count", 12)
    assert outcome.status == 0, outcome.err
    slots = json.loads((out / "steering.json").read_text())["slots"]
    assert slots.keys() == {"colour", "tone"}
    for found in slots.values():
        means = [row["measured"]["mean"] for row in found["words"].values()]
        assert means == sorted(means)
        assert found["difference"]["low"] > 0.1
        assert all(sum(row["called"].values()) == 12 for row in found["words"].values())
    assert 0.6 < slots["tone"]["difference"]["mean"] < np.log2(1.8 / 0.8)  # small lesions are all feather
    assert "| colour | redder than |" in outcome.out and (out / "steering.md").read_text() in outcome.out
    sheet = Image.open(out / "tone.png")
    assert sheet.width == 3 * 160 and sheet.height == 20 + 6 * 160


def test_a_deaf_painter_is_seen_not_to(ask) -> None:
    outcome, out = ask(Obedient(deaf=True), "--count", 3)
    assert outcome.status == 0, outcome.err
    for found in json.loads((out / "steering.json").read_text())["slots"].values():
        assert found["difference"]["mean"] == 0


def test_what_cannot_be_asked_is_said(ask) -> None:
    assert "paints nothing from text" in ask(CopyPaste(), "--count", 3)[0].err
    assert "expected 2 or more" in ask(Obedient(deaf=True), "--count", 1)[0].err
