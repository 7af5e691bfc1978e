"""`import syndiff`: every name is documented by an example that runs, imports are light, nothing is printed."""

import ast
import builtins
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import syndiff
from syndiff.models.predictor import check_image
from syndiff.synthesis.shards import Shard
from tiny_commands import ENCODER

TINY = {
    **{"model.image_size": 32, "model.inference_tta": 1, "model.encoder": ENCODER, "model.pretrained": False},
    **{"model.denoiser_channels": 16, "model.condition_channels": 16},
    **{"training.steps": 2, "training.batch_size": 2, "training.coarse_share": 0.0},
    **{"inpainter.crop_size": 64, "inpainter.channels": (32, 32, 32), "inpainter.caption_layers": 1},
    **{"adapt.steps": 1, "adapt.crops": 4, "adapt.batch_size": 2},
}
RUN = {"compact.steps": 1, "gates.mode": "report"}
ORDER = ["split", "synthesize", "merge", "train", "evaluate", "adapt", "run"]
"""Names whose examples make what others use."""


def test_every_name_is_there_and_no_other() -> None:
    for name in syndiff.__all__:
        assert inspect.getdoc(getattr(syndiff, name))
    assert set(syndiff.__all__) <= set(dir(syndiff))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = syndiff.nothing
    tree = ast.parse(Path(syndiff.__file__).read_text())
    typed = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == set(syndiff.__all__)


def test_the_package_is_light() -> None:
    seen = "import sys, syndiff; print(sorted({'torch', 'numpy', 'PIL', 'yaml'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.slow
def test_every_example_runs_and_prints_nothing_else(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phantom.rename(tmp_path / "my-polyps")
    monkeypatch.chdir(tmp_path)
    dataset = syndiff.Dataset.open("my-polyps")
    whole = syndiff.load_settings(values=TINY | RUN)
    train = {name: value for name, value in TINY.items() if name.startswith(("model.", "training."))}
    adapt = {name: value for name, value in TINY.items() if name.startswith(("inpainter.", "adapt."))}
    of = {name: syndiff.load_settings(values=train) for name in ("train", "Trained")}
    of |= {name: syndiff.load_settings(values=adapt) for name in ("adapt", "Adapted")}
    shared = {"syndiff": syndiff, "image": dataset.load(dataset.cases[0])[0]}
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder(recurse=False)
    for name in [*ORDER, *sorted(set(syndiff.__all__) - set(ORDER))]:
        value = getattr(syndiff, name)
        (example,) = finder.find(value, name, globs=shared)
        if name == "Dataset":
            example.examples += finder.find(value.open, "Dataset.open", globs=shared)[0].examples
        assert example.examples, f"{name} has no example"
        example.globs = shared | {"settings": of.get(name, whole)}
        capsys.readouterr()
        report: list[str] = []
        assert not runner.run(example, clear_globs=False, out=report.append).failed, "".join(report)
        shared |= {key: made for key, made in example.globs.items() if key != "settings"}
        assert capsys.readouterr().out == ""


def test_every_example_uses_what_the_page_has_defined() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/python.md").read_text(encoding="utf-8")
    defined = _names(page.split("```python\n")[1].split("```")[0], ast.Store)
    for name in syndiff.__all__:
        value = getattr(syndiff, name)
        lines = [example.source for each in doctest.DocTestFinder().find(value, name) for example in each.examples]
        own = _names("".join(lines), ast.Store) | set(dir(builtins))
        assert _names("".join(lines), ast.Load) <= defined | own, name


def _names(code: str, use: type) -> set[str]:
    """The names that are set, or read; an imported one or that of an error counts as set."""
    nodes = list(ast.walk(ast.parse(code)))
    found = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, use)}
    if use is ast.Store:
        found |= {str(node.name) for node in nodes if isinstance(node, ast.alias | ast.ExceptHandler)}
    return found


@pytest.mark.slow
def test_progress_can_be_silenced(phantom: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of all that shows bars, on a dataset and in a folder that were given as text."""
    data, out = str(phantom), str(tmp_path)
    tiny = {name: value for name, value in TINY.items() if name.startswith(("model.", "training."))}
    trained = syndiff.train(data, f"{out}/real", settings=syndiff.load_settings(values=tiny), progress=False)
    syndiff.split(data, progress=False).write(f"{out}/split.json")
    learned = {name: value for name, value in TINY.items() if name.startswith(("inpainter.", "adapt."))}
    settings = syndiff.load_settings(values=learned)
    adapted = syndiff.adapt(data, f"{out}/inpainter", split=f"{out}/split.json", settings=settings, progress=False)
    chosen = {"synthesis.model": str(adapted.run), "compact.steps": 1, "gates.mode": "report"}
    settings = syndiff.load_settings(values=chosen | {"gates.segmenter": str(trained.run)})
    for part in (1, 2):
        shard = Shard(part, 2)
        syndiff.synthesize(data, f"{out}/{part}", count=1, settings=settings, shard=shard, progress=False)
    syndiff.merge([f"{out}/1", f"{out}/2"], data, f"{out}/merged", count=1, progress=False)
    told = capfd.readouterr()
    assert told.out == "" and "%|" not in told.err and "it/s" not in told.err, told.err


def test_what_is_no_array_is_told_how_to_become_one(tmp_path: Path) -> None:
    for image in ("file.png", tmp_path / "file.png", Image.new("RGB", (8, 8)), None):
        with pytest.raises(syndiff.SyndiffError, match=r"expected an array.*np\.asarray\(Image\.open\(path\)"):
            check_image(image)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "kind"), [((8, 8), np.uint8), ((8, 8, 4), np.uint8), ((8, 8, 3), np.float64), ((0, 8, 3), np.uint8)]
)
def test_an_array_that_is_no_image_is_refused(shape: tuple[int, ...], kind: type) -> None:
    with pytest.raises(syndiff.SyndiffError, match="expected height x width x 3 in uint8"):
        check_image(np.zeros(shape, kind))
    check_image(np.zeros((8, 9, 3), np.uint16))
