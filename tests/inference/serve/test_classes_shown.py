"""Several classes on the page: a contour and a line for each, masks to take away, decisions but no corrections."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from PIL import Image
from small_folders import sample

from syndiff.data.dataset import Dataset
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.imaging import CLASS_COLOURS, encode_png
from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.collections import Collection, Wanted
from syndiff.inference.serve.contours import Contours, svg_path
from syndiff.inference.serve.decoding import Decoder, _case
from syndiff.inference.serve.layers import answer_content
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.review_folder import ReviewFolder
from syndiff.inference.serve.reviewing import Reviewing, check_reviewable
from syndiff.inference.serve.security import Access
from syndiff.models.predictor import Prediction
from syndiff.reviews.state import reviews_of
from syndiff.reviews.store import ReviewStore

NAMES, NUMBERS = ("polyp", "instrument"), (1, 3)


def masks() -> np.ndarray:
    found = np.zeros((2, 24, 32), bool)
    found[0, 4:12, 3:20], found[1, 10:14, 20:] = True, True  # they touch
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / "set" / "images" / "a.png")
    labels = Targets(NAMES, NUMBERS).labels(masks())
    Image.fromarray(labels).save(tmp_path / "set" / "masks" / "a.png")
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"classes": {"1": "polyp", "3": "instrument"}}))
    return Dataset.open(tmp_path / "set")


@pytest.mark.parametrize("overlap", [False, True])
def test_an_answer_has_a_contour_for_each_class_and_the_mask_that_predict_writes(overlap: bool) -> None:
    targets = Targets(NAMES, NUMBERS, overlap)
    answer = Prediction.of(0.9 * masks().astype(np.float32), targets, {"network": 0.1})
    content = answer_content(Prediction(**{**vars(answer), "views": np.ones((1, 4, 4), np.float32)}))
    assert [(one["name"], one["number"], one["lesions"]) for one in content["classes"]] == [
        ("polyp", 1, 1),
        ("instrument", 3, 1),
    ]
    assert content["mask"]["lesions"] == 2
    assert [one["path"] for one in content["classes"]] == [svg_path(mask) for mask in masks()]
    if overlap:
        pages = tifffile.imread(io.BytesIO(base64.b64decode(content["tiff"])))
        assert content["png"] is None and np.array_equal(pages > 0, masks())
    else:
        labels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content["png"]))))
        assert content["tiff"] is None and np.array_equal(labels, targets.labels(masks()))


def test_one_class_has_no_list_of_classes() -> None:
    answer = Prediction(masks()[0], masks()[0].astype(np.float32), {}, views=np.ones((1, 4, 4), np.float32))
    assert answer_content(answer)["classes"] == [] and answer_content(answer)["tiff"] is None


def test_the_page_draws_the_colours_of_overlays() -> None:
    style = (Path(__import__("syndiff").__file__).parent / "inference/serve/page/style.css").read_text()
    for index, colour in enumerate(CLASS_COLOURS):
        assert f".key.class-{index} {{ color: #{bytes(colour).hex()}; }}" in style
        assert not index or f".line.class-{index} {{ stroke: #{bytes(colour).hex()}; }}" in style


def test_browsed_cases_show_the_border_of_each_class(dataset: Dataset) -> None:
    collection = Collection(dataset.root, None)
    case = collection[collection.page(Wanted(), 0, reviews={}, near="")["items"][0]["id"]]
    assert case.facts["classes"] == "2 classes (1 polyp, 3 instrument)"
    found = _case(case.image, (case.mask,), case.threshold, case.targets)
    paths = [svg_path(mask) for mask in masks()]
    assert found.contours == (Contours("".join(paths), tuple(zip(NAMES, paths, strict=True))),)


def test_a_case_is_decided_on_with_all_its_classes_but_not_corrected(
    dataset: Dataset, tmp_path: Path, decoder: Decoder
) -> None:
    collection = Collection(dataset.root, None)
    check_reviewable([collection])
    with ReviewStore(tmp_path / "reviews.db") as store:
        app = make_app(Models(()), None, Access(), [collection], Reviewing(store, [collection], decoder))
        with TestClient(app, base_url="http://127.0.0.1", headers={"X-Requested-With": "syndiff"}) as client:
            place = f"/api/review/{collection.key}/cases/{next(iter(collection.cases))}"
            told = client.get(f"{place}?reviewer=ann").json()
            assert [(one["name"], one["path"]) for one in told["mask"]["classes"]] == [
                (name, svg_path(mask)) for name, mask in zip(NAMES, masks(), strict=True)
            ]
            assert not told["correctable"] and not told["empty"]
            decision = {"id": "0" * 32, "reviewer": "ann", "content": told["content"], "kind": "accept"}
            assert client.post(f"{place}/events", json=decision).status_code == 200
            assert "only masks of one class are corrected" in client.get(f"{place}/mask.png?reviewer=ann").text
            query = f"?reviewer=ann&content={told['content']}&base=&id={'1' * 32}"
            refused = client.post(f"{place}/mask{query}", content=encode_png(masks()[0]))
            assert refused.status_code == 422 and "reject the case as mask" in refused.json()["error"]
        assert reviews_of(dataset, store.events())["a"].state == "accepted"
        labels = Targets(NAMES, NUMBERS).labels(masks()[::-1])
        Image.fromarray(labels).save(dataset["a"].mask)  # the same foreground, of other classes
        assert not reviews_of(dataset, store.events())


def test_rejected_samples_are_of_the_classes_of_their_folder(dataset: Dataset, decoder: Decoder) -> None:
    root = dataset.root.parent / "synthetic"
    for part, number in ((root, 0), (root / "rejected", 1)):
        line = {**sample(number, accepted=not number, prompt="a polyp", seam=0.5), "settings": {"paints": "polyp"}}
        for folder in ("images", "masks"):
            shutil.copytree(dataset.root / folder, part / folder)
            (part / folder / "a.png").rename(part / folder / f"{line['id']}.png")
        with (root / "manifest.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    with pytest.raises(SyndiffError, match="is not finished"):
        check_reviewable([Collection(root, None)])
    shutil.copy(dataset.root / "dataset.json", root)
    check_reviewable([collection := Collection(root, None)])
    folder = ReviewFolder(collection, decoder)
    for case_id in collection.cases:
        assert [name for name, _ in folder.shown(case_id).contour.classes] == ["polyp", "instrument"]
