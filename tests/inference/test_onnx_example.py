"""The documented program predicts as `predict` does, in an environment that has three packages and no torch."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from syndiff.inference.export import export
from syndiff.inference.load import load
from syndiff.models.prediction import SegmenterPredictor, model_description
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import write_model
from syndiff.models.tensors import trainable_state
from tiny_commands import ENCODER

EXAMPLE = Path(__file__).parents[2] / "docs" / "how-to" / "onnx_example.py"
PACKAGES = ("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime")


@pytest.fixture
def environment(tmp_path) -> Path:
    """A folder of packages: those of the example and no other."""
    spec = importlib.util.find_spec("numpy")
    assert spec is not None and spec.origin is not None
    site, folder = Path(spec.origin).parents[1], tmp_path / "packages"
    folder.mkdir()
    for name in PACKAGES:
        if (site / name).exists():
            (folder / name).symlink_to(site / name)
    return folder


def write_checkpoint(folder: Path, kind: str, image: np.ndarray) -> Path:
    """A checkpoint whose masks of `image` are neither empty nor full."""
    small = {"condition_channels": 8, "denoiser_channels": 8} if kind == "diffusion" else {}
    settings = SegmenterSettings(kind=kind, image_size=32, encoder=ENCODER, pretrained=False, inference_tta=8, **small)
    for seed in range(50):
        model = initialise(settings, seed)
        with torch.no_grad():  # about half of the pixels beyond the threshold
            head = model.head if kind == "control" else model.denoiser.leave
            head.weight.mul_(20)
        predictor = SegmenterPredictor(model, 32, name="x", tta=8, seed=3)
        if 0.1 < predictor.predict(image, case_id="case 1").mask.mean() < 0.9:
            write_model(folder, trainable_state(model), model_description(settings, model, step=1, val_dice=0.5))
            return folder
    raise AssertionError("no such weights")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diffusion", "control"])
def test_the_example_writes_the_mask_of_predict(environment, tmp_path, kind):
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "case 1.png")
    folder = export(write_checkpoint(tmp_path / "run", kind, image), tmp_path / "exported").folder
    start = f"import sys; sys.path.insert(0, {str(environment)!r}); sys.argv = sys.argv[1:]\n"
    check = "\nassert not {'torch', 'syndiff', 'scipy'} & sys.modules.keys()"
    words = ["-", folder, tmp_path / "case 1.png", tmp_path / "mask.png", 3]
    script = start + EXAMPLE.read_text() + check
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = load(folder, seed=3).predict(image, case_id="case 1").mask
    found = np.asarray(Image.open(tmp_path / "mask.png")) > 0
    assert (found != expected).mean() < 0.002
