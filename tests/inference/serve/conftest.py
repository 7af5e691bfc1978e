"""A server with two untrained models and a folder of four images, asked in this process or by a browser."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from fastapi.testclient import TestClient
from small_folders import write_case, write_synthetic

import syndiff
from syndiff.evaluation.evaluate import CaseRow, per_case_table
from syndiff.evaluation.metrics import case_metrics
from syndiff.files import write_json
from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.collections import collections_of
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.folder import ImageFolder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.security import Access
from syndiff.reviews.store import ReviewStore

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


class Lasting(Decoder):
    """A decoder that outlives the servers that use it, since starting one takes longer than most tests."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    made = Lasting()
    yield made
    Decoder.close(made)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> syndiff.Dataset:
    root = tmp_path_factory.mktemp("browse") / "data"
    for number, name in enumerate("abc"):
        write_case(root, name, colour=90 + number)
    return syndiff.Dataset.open(root)


@pytest.fixture(scope="session")
def synthetic(data: syndiff.Dataset) -> Path:
    return write_synthetic(data.root.parent / "synthetic")


@pytest.fixture(scope="session")
def evaluated(data: syndiff.Dataset) -> Path:
    """The evaluation of a run: it finds `a` and misses `b`."""
    folder = data.root.parent / "run" / "eval" / "data"
    (folder / "masks").mkdir(parents=True)
    rows = []
    for name, found in (("a", True), ("b", False)):
        _, truth = data.load(data[name])
        rows.append(CaseRow(name, None, case_metrics(truth & found, truth, tolerance=2.0), 0.1, 0.1 if found else 0.6))
        Image.fromarray((truth & found).astype(np.uint8) * 255).save(folder / "masks" / f"{name}.png")
    (folder / "per_case.csv").write_bytes(per_case_table(rows))
    write_json(folder / "summary.json", {"dataset": {"name": "data", "fingerprint": data.fingerprint()}})
    return folder.parents[1]


@pytest.fixture(scope="module")
def changing(tmp_path_factory: Any) -> Path:
    """A dataset for one test to change."""
    root = tmp_path_factory.mktemp("changing")
    for name in ("case 1", "case 2", "case 10"):
        write_case(root, name)
    return root


@pytest.fixture(scope="module")
def address(
    runs: tuple[Path, Path], images: Path, synthetic: Path, evaluated: Path, data: syndiff.Dataset, changing: Path,
    tmp_path_factory: Any,
) -> Iterator[str]:  # fmt: skip
    """The address of a server in a thread of this process."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        many = tmp_path_factory.mktemp("many")
        write_case(many, "00000")
        for number in range(1, 1000):
            for part in ("images", "masks"):
                (many / part / f"{number:05d}.png").hardlink_to(many / part / "00000.png")
        found = [each for root in (synthetic, evaluated, many, changing) for each in collections_of(root, data)]
        reviewing = Reviewing(store := ReviewStore(tmp_path_factory.mktemp("reviews") / "reviews.db"), found)
        for name, kind, value in (("000001", "accept", ""), ("000002", "reject", "colour"), ("000002", "rate", "2")):
            store.add("ann", reviewing.subject(found[0], f"synthetic-{name}"), kind, value)
        app = make_app(Models(runs), ImageFolder(images), Access(), found, reviewing)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join()
