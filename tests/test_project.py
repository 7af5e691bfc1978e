"""What a fresh clone relies on: a lock that fits pyproject.toml, a choice of index, links that lead somewhere."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/**/*.md")])


def test_the_lock_pins_everything_that_the_project_asks_for() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    pins = {}
    for line in lines:
        pin = re.fullmatch(r"([\w.-]+)==([\w.]+)", line)
        assert pin, f"{line}: expected name==version without a build suffix"
        pins[canonicalize_name(pin[1])] = pin[2]

    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needs = [asked["build-system"]["requires"], asked["project"]["dependencies"]]
    for text in chain(*needs, *asked["project"]["optional-dependencies"].values()):
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


@pytest.mark.parametrize(
    ("chosen", "printed"), [("", ""), ("https://mirror.example/cpu", "--extra-index-url https://mirror.example/cpu\n")]
)
def test_the_index_of_pytorch_can_be_chosen(chosen: str, printed: str) -> None:
    answer = subprocess.run(
        [sys.executable, ROOT / "scripts" / "torch_index.py"],
        env={**os.environ, "TORCH_INDEX": chosen},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (answer.stdout, answer.stderr) == (printed, "")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{target} does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_tests_that_pages_name_exist() -> None:
    """A page names a test as `folder/test_file.py::test_name`, or as `test_name` once its file was named."""
    defined: dict[str, set[str]] = {}
    for path in ROOT.glob("tests/**/test_*.py"):
        defined[path.name] = set(re.findall(r"def (test_\w+)\(", path.read_text()))
    named = 0
    for page in PAGES:
        for line in page.read_text().splitlines():
            file = ""
            for found in re.finditer(r"`(?:(?:[\w/]*/)?(test_\w+\.py)(?:::)?)?(test_\w+)?`", line):
                file = found[1] or file
                assert not file or file in defined, f"{page}: {file}"
                if found[2]:
                    assert found[2] in defined[file], f"{page}: {file}::{found[2]}"
                    named += 1
    assert named > 10


def test_texts_are_read_and_written_as_utf_8() -> None:
    """Without `encoding` the machine's locale would decide."""
    for path in (ROOT / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute | ast.Name):
                named = any(keyword.arg == "encoding" for keyword in call.keywords)
                assert named or not _is_text(call), f"{path}, line {call.lineno}: no encoding"


def _is_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text: `x.read_text()`, `x.write_text(...)`, `x.open()` or `x.open("a")`."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    opens = name == "open" and (not call.args or (given and "b" not in given[0] and len(given[0]) <= 2))
    return name in ("read_text", "write_text") or bool(opens)
