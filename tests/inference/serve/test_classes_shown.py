"""Several classes on the page: a contour and a line for each, masks to take away, and reviews that are refused."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.imaging import CLASS_COLOURS
from syndiff.inference.serve.collections import Collection, Wanted
from syndiff.inference.serve.contours import svg_path
from syndiff.inference.serve.decoding import _case
from syndiff.inference.serve.layers import answer_content
from syndiff.inference.serve.reviewing import check_reviewable
from syndiff.models.predictor import Prediction

NAMES, NUMBERS = ("polyp", "instrument"), (1, 3)


def masks() -> np.ndarray:
    found = np.zeros((2, 24, 32), bool)
    found[0, 4:12, 3:11], found[1, 10:14, 20:] = True, True
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


def test_browsed_cases_show_the_border_of_each_class_and_are_not_reviewed(dataset: Dataset) -> None:
    collection = Collection(dataset.root, None)
    case = collection[collection.page(Wanted(), 0, reviews={}, near="")["items"][0]["id"]]
    assert case.facts["classes"] == "2 classes (1 polyp, 3 instrument)"
    found = _case(case.image, (case.mask,), case.threshold, case.targets)
    assert found.contours == ("".join(svg_path(mask) for mask in masks()),)
    with pytest.raises(SyndiffError, match=r"A review of .*takes one class, but here are 2 classes"):
        check_reviewable([collection])
