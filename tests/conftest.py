"""Shared fixtures: the phantom as a small dataset, the command line in this process, real data where it is at hand."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import processes
from syndiff.cli import main
from syndiff.phantom import write_phantom

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def cvc() -> Path:
    """The CVC-ClinicDB folder, or a skip that says what is missing (mark such tests `real`)."""
    folder = SHARED / "data" / "cvc-clinicdb"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: {folder}")
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests, file by file, those with slow ones come first: none ends long after another."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def forked() -> ModuleType:
    """Processes that are forked from one server, where `torch` is imported once: see processes.py."""
    processes.serve()
    return processes


@pytest.fixture(scope="session")
def _phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "set"
    write_phantom(root, groups=6, frames=3, height=96, width=112, seed=0)
    return root


@pytest.fixture
def phantom(_phantom: Path, tmp_path: Path) -> Path:
    """A private copy of a phantom of six sequences with three frames each, 96 x 112 pixels."""
    return Path(shutil.copytree(_phantom, tmp_path / "phantom"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser, one for all tests of pages in this process: Playwright's loop runs in it only once."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and its two streams."""

    status: int
    out: str
    err: str


@pytest.fixture
def syndiff(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line in this process: `syndiff("run", "--data", folder)`."""

    def call(*args: object) -> Outcome:
        capsys.readouterr()
        status = 0
        try:
            main([str(arg) for arg in args])
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call
