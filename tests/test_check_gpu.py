"""The check of a GPU, here on the CPU: what it compares."""

import importlib
from pathlib import Path

import pytest

import syndiff
from syndiff.config.loading import load_settings


@pytest.mark.slow
def test_answers_and_resumption_are_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    check = importlib.import_module("check_gpu")
    syndiff.write_phantom(tmp_path / "phantom", groups=3, frames=1, height=64, width=64)
    answers = dict(check.same_answers())
    assert list(answers) == [f"same answers, {name}" for name in check.KINDS]
    ((_, apart),) = check.resumed(tmp_path / "phantom", tmp_path)
    assert apart == "weights apart by 0.0e+00"


def test_the_preset_for_a_gpu_is_that_of_compact_but_larger() -> None:
    gpu, compact = load_settings("gpu"), load_settings("compact")
    assert gpu.model.objective == compact.model.objective == "z0" and gpu.training.mask_weight > 0
    assert gpu.training.precision == "bf16" and gpu.model.image_size == 256 and gpu.model.encoder.startswith("timm:")
