"""Try: what the page is told of a picture and of a model's answer is what `predict` would say."""

import base64
import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import syndiff
from syndiff.data.targets import Targets
from syndiff.documents import read_json
from syndiff.files import sha256, write_json
from syndiff.inference.serve import contours
from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.contours import svg_path
from syndiff.inference.serve.folder import ImageFolder
from syndiff.inference.serve.layers import answer_content
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.pictures import Picture, Pictures
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.security import Access
from syndiff.models.calibration import Calibration, inference_settings, store_calibration
from syndiff.models.predictor import Prediction


def upload(client: TestClient, content: bytes, name: str = "i1.png", query: str = "") -> dict:
    answer = client.post(f"/api/pictures{query}", content=content, headers={"X-Name": name})
    assert answer.status_code == 200, answer.text
    return answer.json()


def decoded(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def test_the_models_and_the_folder_are_named(client: TestClient) -> None:
    told = client.get("/api/models").json()
    assert [model["name"] for model in told["models"]] == ["one", "two"] and told["folder"]
    page = client.get("/api/folder").json()
    assert [item["name"] for item in page["items"]] == ["deep/i3.png", "i0.png", "i1.png", "i2.png"]
    assert [item["name"] for item in client.get("/api/folder?text=I3").json()["items"]] == ["deep/i3.png"]


def test_an_answer_is_that_of_predict(client: TestClient, runs: tuple[Path, Path], images: Path) -> None:
    path = images / "i1.png"
    picture = upload(client, path.read_bytes())
    assert (picture["width"], picture["height"], picture["frames"]) == (25, 20, 1)
    for number, run in enumerate(runs):
        answer = client.post(f"/api/pictures/{picture['id']}/prediction", json={"model": number}).json()
        expected = syndiff.load(run).predict(path)
        np.testing.assert_array_equal(decoded(answer["png"]) > 0, expected.mask)
        assert (answer["disagreement"] or {"score": None})["score"] == expected.disagreement
        assert set(answer["seconds"]) == set(expected.seconds) and answer["wide"] is None
        assert answer["mask"]["share"] == pytest.approx(expected.mask.mean())
        assert answer["probability"].startswith("data:image/png;base64,")
    assert answer["disagreement"]["image"].startswith("data:image/png;base64,")  # the second model has several views


def test_a_second_look_is_that_of_predict(client: TestClient, runs: tuple[Path, Path], images: Path) -> None:
    app = make_app(Models(runs, refine="tiles"), ImageFolder(images), Access())
    with TestClient(app, base_url=str(client.base_url), headers=dict(client.headers)) as refining:
        picture = upload(refining, (images / "i1.png").read_bytes())
        answer = refining.post(f"/api/pictures/{picture['id']}/prediction", json={"model": 1}).json()
    expected = syndiff.load(runs[1], refine="tiles").predict(images / "i1.png")
    np.testing.assert_array_equal(decoded(answer["png"]) > 0, expected.mask)
    assert "refine" in answer["seconds"]


def test_a_picture_of_the_folder_is_that_of_an_upload(client: TestClient, images: Path) -> None:
    item = client.get("/api/folder?text=i2").json()["items"][0]
    chosen = client.post(f"/api/folder/{item['id']}/picture").json()
    sent = upload(client, (images / "i2.png").read_bytes(), "i2.png")
    pngs = [
        client.post(f"/api/pictures/{each['id']}/prediction", json={"model": 0}).json()["png"]
        for each in (chosen, sent)
    ]
    assert pngs[0] == pngs[1]
    shown = client.get(f"/api/pictures/{chosen['id']}.jpg")
    assert shown.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(shown.content)).size == (26, 20)


def test_the_frames_of_a_stack_are_chosen_and_the_middle_comes_first(client: TestClient) -> None:
    pages = [Image.new("RGB", (8, 6), (value, 0, 0)) for value in (10, 20, 30)]
    stack = io.BytesIO()
    pages[0].save(stack, "TIFF", save_all=True, append_images=pages[1:])
    middle = upload(client, stack.getvalue(), "stack.tif")
    assert (middle["frame"], middle["frames"]) == (2, 3)
    last = upload(client, stack.getvalue(), "stack.tif", "?frame=3")
    assert last["frame"] == 3
    beyond = client.post("/api/pictures?frame=4", content=stack.getvalue(), headers={"X-Name": "stack.tif"})
    assert beyond.status_code == 422 and beyond.json()["error"] == "stack.tif has 3 frames, not a frame 4."


def test_what_the_server_does_not_hold_is_a_sentence(client: TestClient, images: Path) -> None:
    picture = upload(client, (images / "i1.png").read_bytes())
    asked = [
        client.post("/api/pictures/of-an-earlier-server/prediction", json={"model": 0}),
        client.get("/api/pictures/of-an-earlier-server.jpg"),
        client.post(f"/api/pictures/{picture['id']}/prediction", json={"model": 7}),
        client.post("/api/folder/0123456789abcdef0123/picture"),
        client.get("/nowhere"),
    ]
    for answer in asked:
        assert answer.status_code == 404 and len(answer.json()["error"]) > 20
    assert client.post(f"/api/pictures/{picture['id']}/prediction", json={"model": "x"}).status_code == 422


def test_a_folder_that_grows_and_shrinks(tmp_path: Path, images: Path) -> None:
    root = tmp_path / "growing"
    root.mkdir()
    for name in ("a.png", "b.png"):
        (root / name).write_bytes((images / "i1.png").read_bytes())
    folder = ImageFolder(root)
    first = folder.page(0, "")["items"][0]["id"]
    (root / "a.png").unlink()
    (root / "c.png").write_bytes((images / "i1.png").read_bytes())
    folder.refresh()
    assert [item["name"] for item in folder.page(0, "")["items"]] == ["b.png", "c.png"]
    with pytest.raises(Refusal, match="not in the folder any more"):
        folder[first]


def test_a_name_that_is_no_utf_8_is_shown_all_the_same(runs: tuple[Path, Path], images: Path, tmp_path: Path) -> None:
    for name in (b"\xff.png", b"broken-\xff.png"):
        (tmp_path / os.fsdecode(name)).write_bytes((images / "i1.png").read_bytes()[: 40 if b"b" in name else None])
    app = make_app(Models(runs), ImageFolder(tmp_path), Access())
    with TestClient(app, base_url="http://localhost", headers={"X-Requested-With": "syndiff"}) as own:
        items = own.get("/api/folder").json()["items"]
        assert [item["name"] for item in items] == ["broken-\\xff.png", "\\xff.png"]
        bad, good = (own.post(f"/api/folder/{item['id']}/picture") for item in items)
        assert bad.status_code == 422 and bad.json()["error"].startswith("broken-\\xff.png")
        answer = own.post(f"/api/pictures/{good.json()['id']}/prediction", json={"model": 0})
        assert answer.status_code == 200 and answer.json()["name"] == "\\xff.png"


def test_a_file_that_was_deleted_is_a_sentence(client: TestClient, images: Path, tmp_path: Path) -> None:
    item = client.get("/api/folder?text=i0").json()["items"][0]
    (images / "i0.png").rename(tmp_path / "away.png")
    try:
        gone = client.post(f"/api/folder/{item['id']}/picture")
        assert gone.status_code == 422 and gone.json()["error"].startswith("i0.png does not exist")
    finally:
        (tmp_path / "away.png").rename(images / "i0.png")


def test_eight_clients_at_once_lose_nothing(client: TestClient, images: Path) -> None:
    def ask(number: int) -> str:
        name = f"i{number % 3}.png"
        picture = upload(client, (images / name).read_bytes(), name)
        answer = client.post(f"/api/pictures/{picture['id']}/prediction", json={"model": number % 2})
        assert answer.status_code == 200
        return answer.json()["png"]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(16)))
    assert together == [ask(number) for number in range(16)]


def test_pictures_are_held_up_to_a_limit() -> None:
    held = Pictures(most=1000)
    names = [held.add(Picture(np.zeros((10, 10, 3), np.uint8), "a", "a", 1, 1)) for _ in range(4)]
    assert held[names[3]].name == "a" and held[names[1]]
    with pytest.raises(Refusal, match="open it again"):
        held[names[0]]


def area(path: str) -> float:
    """What a path encloses, holes taken off (the shoelace formula)."""
    total = 0.0
    for piece in path.split("Z")[:-1]:
        x, y = np.array([point.split() for point in piece[1:].split("L")], float).T
        total += float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return abs(total)


def test_a_contour_lies_on_the_border_of_its_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((20, 30), bool)
    assert svg_path(mask) == ""
    mask[5:10, 7:19] = True
    numbers = [tuple(map(float, point.split())) for point in svg_path(mask)[1:-1].split("L")]
    assert min(x for x, _ in numbers) == 7 and max(x for x, _ in numbers) == 19
    assert min(y for _, y in numbers) == 5 and max(y for _, y in numbers) == 10
    assert len(numbers) == 8  # corners are cut by half a pixel
    mask[6:9, 10:15] = False
    assert area(svg_path(mask)) == pytest.approx(mask.sum(), abs=1.1)
    monkeypatch.setattr(contours, "MAX_POINTS", 30)
    disc = np.hypot(*np.mgrid[-40:41, -40:41]) < 38
    assert len(svg_path(disc).split("L")) <= 30 and area(svg_path(disc)) == pytest.approx(disc.sum(), rel=0.1)
    assert area(svg_path(np.ones((4, 6), bool))) == pytest.approx(24, abs=0.6)


def test_a_calibrated_model_has_its_wide_contour_and_sentence(
    runs: tuple[Path, Path], images: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "calibrated"))
    described = read_json(run / "model.json")
    weights = sha256(run / "model.safetensors")
    write_json(run / "model.json", {**described, "sha256": weights})
    calibration = Calibration(
        sentence="The wide contour misses little.", threshold=0.01, kind="average", miss=0.1, coverage=None,
        confidence=None, groups=20, frames=60, failures=None, group_per_case=False, extra_of_frame=0.1,
        extra_of_mask=0.5, dataset="phantom", fingerprint="0" * 64, seed=0, weights=weights,
        **inference_settings(described["model"]),
    )  # fmt: skip
    store_calibration(run / "model.json", calibration, Targets())
    app = make_app(Models((run,)), None, Access())
    with TestClient(app, base_url="http://localhost", headers={"X-Requested-With": "syndiff"}) as own:
        assert own.get("/api/models").json()["models"][0]["guarantees"] == {
            "foreground": "The wide contour misses little."
        }
        picture = upload(own, (images / "i1.png").read_bytes())
        answer = own.post(f"/api/pictures/{picture['id']}/prediction", json={"model": 0}).json()
        wide = syndiff.load(run).predict(images / "i1.png").wide
        assert wide is not None and answer["wide"]["share"] == pytest.approx(wide.mean())
        assert answer["wide"]["share"] > answer["mask"]["share"]


def test_a_wide_contour_and_a_single_view() -> None:
    mask = np.eye(6, dtype=bool)
    answer = Prediction(
        mask,
        mask.astype(np.float32),
        {"network": 0.1},
        wide=np.ones((6, 6), bool),
        views=np.ones((1, 4, 4), np.float32),
    )
    content = answer_content(answer)
    assert content["wide"]["share"] == 1 and content["disagreement"] is None and content["mask"]["lesions"] == 1


def test_of_several_classes_the_calibrated_ones_alone_have_a_wide_contour() -> None:
    probability = np.zeros((2, 6, 6), np.float32)
    probability[0, :2], probability[1, 4:] = 0.9, 0.9
    probability[1, 3] = 0.3
    found = Prediction.of(probability, Targets(("polyp", "tool"), (1, 2)), {"network": 0.1})
    content = answer_content(replace(found.widened([None, 0.2]), views=np.ones((1, 4, 4), np.float32)))
    polyp, tool = content["wide"]["classes"]
    assert polyp is None and tool["share"] == 0.5 and content["wide"]["share"] == pytest.approx(5 / 6)
    assert found.widened([None, None]).wide is None
