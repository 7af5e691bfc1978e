"""A server with two untrained models and a folder of four images, asked in this process."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from fastapi.testclient import TestClient

from syndiff.files import write_json
from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.folder import ImageFolder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.security import Access

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_predict import draw, write_run

ORIGIN = "http://127.0.0.1:8601"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two run folders; the second averages four views."""
    root = tmp_path_factory.mktemp("models")
    one, two = write_run(root / "one", 0), write_run(root / "two", 1)
    described = json.loads((two / "model.json").read_text(encoding="utf-8"))
    described["model"]["inference_tta"] = 4
    write_json(two / "model.json", described)
    return one, two


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, one in a folder below it."""
    root = tmp_path_factory.mktemp("served") / "images"
    for number in range(4):
        draw(root / ("deep" if number == 3 else "") / f"i{number}.png", number)
    return root


@pytest.fixture(scope="session")
def client(runs: tuple[Path, Path], images: Path) -> Iterator[TestClient]:
    """A client that asks as the page does."""
    app = make_app(Models(runs), ImageFolder(images), Access())
    headers = {"X-Requested-With": "syndiff", "Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
    with TestClient(app, base_url=ORIGIN, headers=headers, raise_server_exceptions=False) as made:
        yield made
