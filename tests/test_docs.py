"""What README and docs/ tell a user to type is understood: commands, options, settings, and the Python of a how-to."""

import ast
import importlib
import inspect
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import syndiff
from syndiff.bounds import kinds_of
from syndiff.cli import parse
from syndiff.config.settings import sections

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
FILES = {"onnx", "json", "jsonl", "yaml", "csv", "html", "safetensors"}
"""Ends of names such as gates.json, which is a file and no setting."""


def commands(page: Path) -> Iterator[str]:
    """The commands of `syndiff` in the page's blocks of code, each as one line without comment."""
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    for line in re.findall(r"^    +(?:\.venv/bin/)?(syndiff .*)$", text, re.MULTILINE):
        if "..." not in line and "VERB" not in line:
            yield re.sub(r"\s{2,}[#(].*$", "", line)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(page):
        try:
            parse(shlex.split(command)[1:])
        except SystemExit as stop:
            assert stop.code == 0, f"{command}\n{capsys.readouterr().out}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_settings_exist(page: Path) -> None:
    owners = sections()
    code = re.findall(r"`[^`]+`|^    .*$|^\w[\w.]*=.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    for section, name in re.findall(rf"(?<![\w./-])({'|'.join(owners)})\.(\w+)", "\n".join(code)):
        assert name in kinds_of(owners[section]) or name in FILES | {"NAME"}, f"{section}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_calls_fit_the_python_interface(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for call in ast.walk(ast.parse(block)):
            if isinstance(call, ast.Call) and re.fullmatch(r"syndiff\.\w+", name := ast.unparse(call.func)):
                function = getattr(syndiff, name.partition(".")[2])
                inspect.signature(function).bind(*call.args, **{str(word.arg): word.value for word in call.keywords})


def test_the_first_page_links_every_page_of_the_documentation() -> None:
    docs = ROOT / "docs"
    first = (docs / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"^- \[.*\]\((.*)\)", first, re.MULTILINE))
    pages = [path for end in ("*.md", "*.ipynb") for path in docs.rglob(end) if path != docs / "index.md"]
    assert {str(path.relative_to(docs)) for path in pages} <= linked
    site = set(re.findall(r"^[\w-]+/[\w-]+$", first, re.MULTILINE))
    assert {str(path.relative_to(docs).with_suffix("")) for path in pages} <= site, "the site has a page in its trees"


def test_settings_of_like_situations_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    made_pages = importlib.import_module("made_pages")
    assert made_pages._users("model.objective") == (
        "Used by `run`, `train` (no effect with model.kind=control, unet, attention-unet, segresnet), "
        "`study ablation`, `study baselines` (no effect without the kind diffusion), `study leak` (no effect without "
        "the kind diffusion), `study low-data`, `study prompts` (no effect without --train), `study ratio`, "
        "`study transfer`."
    )


@pytest.mark.slow
def test_what_the_site_makes_from_the_code_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    made_pages = importlib.import_module("made_pages")
    asked = [mark for page in PAGES for mark in re.findall(made_pages.MARK, page.read_text(encoding="utf-8"), re.M)]
    assert {part for part, _ in asked} == set(made_pages.PARTS)
    for part, argument in asked:
        made = "\n".join(made_pages.PARTS[part](*filter(None, [argument])))
        assert len(made) > 500, f"{part} {argument}"


def test_the_inpainter_of_the_how_to_makes_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/how-to/add-an-inpainter.md").read_text(encoding="utf-8")
    inpainter, script = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    syndiff.write_phantom(tmp_path / "my-polyps", groups=4, frames=2, height=96, width=112)
    (tmp_path / "red_spot.py").write_text(inpainter, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(script.replace("count=20", "count=2"), os.fspath(tmp_path / "script.py"), "exec"), {})
    assert len(list((tmp_path / "synthetic" / "images").iterdir())) == 2
    assert (tmp_path / "synthetic" / "split.json").is_file()


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cells = json.loads((ROOT / "docs" / "tutorials" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "the notebook is kept without outputs"
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert (tmp_path / "run" / "report.html").is_file()
