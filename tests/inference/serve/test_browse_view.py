"""Browse: what is listed, in which order, what a case tells, and what is refused."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from small_folders import sample, write_case, write_synthetic

import syndiff
from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.collections import RATING, Collection, Wanted, collections_of
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.security import Access
from syndiff.reviews.store import ReviewStore

ORIGIN = "http://127.0.0.1:8601"


@pytest.fixture(scope="module")
def asked(data: syndiff.Dataset, synthetic: Path, evaluated: Path) -> Iterator[TestClient]:
    found = [each for root in (synthetic, data.root, evaluated) for each in collections_of(root, data)]
    headers = {"X-Requested-With": "syndiff"}
    with TestClient(make_app(Models(()), None, Access(), found), base_url=ORIGIN, headers=headers) as made:
        yield made


def folder(asked: TestClient, number: int) -> str:
    return f"/api/browse/{asked.get('/api/browse').json()[number]['key']}"


def names(asked: TestClient, query: str) -> list[str]:
    return [
        item["name"].removeprefix("synthetic-00000")
        for item in asked.get(folder(asked, int(query[0])) + query[1:]).json()["items"]
    ]


def opened(asked: TestClient, number: int, text: str) -> tuple[str, dict]:
    item = asked.get(f"{folder(asked, number)}?text={text}").json()["items"][0]
    address = f"{folder(asked, number)}/{item['id']}"
    return address, asked.get(address).json()


def test_cases_are_filtered_and_sorted(asked: TestClient) -> None:
    told = asked.get("/api/browse").json()
    assert [(one["kind"], one["cases"]) for one in told] == [("synthetic", 3), ("dataset", 3), ("run", 2)]
    assert told[0]["scores"] == ["seam", "noise"] and told[0]["rejected"] and not told[1]["rejected"]
    assert names(asked, "0") == ["0", "1", "2"]
    assert names(asked, "0?text=PALE%20small") == ["2"]
    assert names(asked, "0?gates=rejected") == ["1"] and names(asked, "0?gates=accepted") == ["0", "2"]
    assert names(asked, "0?sort=noise") == ["2", "1", "0"]
    assert names(asked, "0?sort=seam&descending=true") == ["1", "0", "2"]  # without a score: last, either way
    assert names(asked, "0?sort=seam") == ["0", "1", "2"]
    assert names(asked, "0?sort=noise&low=0&high=1") == ["1"] and names(asked, "0?sort=seam&low=0") == ["0", "1"]
    assert names(asked, "2?sort=dice") == ["b", "a"]
    assert names(asked, "2?sort=disagreement&descending=true") == ["b", "a"]
    assert asked.get(f"{folder(asked, 0)}?offset=2").json()["total"] == 3 and names(asked, "0?offset=2") == ["2"]


def test_a_synthetic_case_tells_how_it_was_made(asked: TestClient) -> None:
    address, case = opened(asked, 0, "large")
    assert case["facts"]["prompt"] == "a large pale polyp" and case["facts"]["seed"] == "6"
    assert case["facts"]["gates"] == "rejected: seam: a visible edge" and case["scores"] == {
        "seam": 0.9,
        "noise": 0.5,
    }
    assert case["source"] and case["mask"]["path"].startswith("M") and case["prediction"] is None
    for part in ("image", "source", "thumbnail"):
        shown = asked.get(f"{address}/{part}.jpg")
        assert shown.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(shown.content)).size == (24, 20)
    assert asked.get(f"{address}/secret.jpg").status_code == 422


def test_a_source_frame_is_shown_only_where_it_is_the_picture_that_was_painted_into(
    asked: TestClient, synthetic: Path, data: syndiff.Dataset
) -> None:
    write_json(synthetic / "seen.json", {"learned": {"0" * 64: "data: a"}, "chosen": {}})
    assert asked.post(f"{folder(asked, 0)}/refresh").status_code == 200
    assert not opened(asked, 0, "large")[1]["source"]
    write_json(synthetic / "seen.json", {"learned": {data.content(data["a"]): "data: a"}, "chosen": {}})
    asked.post(f"{folder(asked, 0)}/refresh")
    assert opened(asked, 0, "large")[1]["source"]


def test_a_case_of_a_run_has_truth_prediction_and_scores(asked: TestClient) -> None:
    _, found = opened(asked, 2, "a")
    assert found["scores"]["dice"] == 1 and found["mask"] == found["prediction"]
    _, missed = opened(asked, 2, "b")
    assert missed["scores"]["missed_lesions"] == 1 and missed["prediction"]["path"] == ""


def test_a_folder_that_grows_changes_or_loses_a_case(tmp_path: Path) -> None:
    write_case(tmp_path / "set", "a")
    app = make_app(Models(()), None, Access(), collections_of(tmp_path / "set", None))
    with TestClient(app, base_url=ORIGIN, headers={"X-Requested-With": "syndiff"}) as own:
        address, _ = opened(own, 0, "a")
        before = own.get(f"{address}/thumbnail.jpg").content
        write_case(tmp_path / "set", "a", size=(30, 20))
        write_case(tmp_path / "set", "b")
        assert own.get(f"{address}/thumbnail.jpg").content != before
        assert names(own, "0") == ["a"]
        assert own.post(f"{folder(own, 0)}/refresh").json()[0]["cases"] == 2 and names(own, "0") == ["a", "b"]
        (tmp_path / "set" / "images" / "a.png").unlink()
        for part in ("", "/image.jpg", "/thumbnail.jpg"):
            gone = own.get(address + part)
            assert gone.status_code == 422 and gone.json()["error"].startswith("a.png does not exist")
        broken = own.post(f"{folder(own, 0)}/refresh")
        assert broken.status_code == 422 and "without image" in broken.json()["error"]
        assert names(own, "0") == ["a", "b"]  # what could not be listed anew stays


def test_names_are_in_natural_order_and_a_chosen_case_is_found_again(tmp_path: Path) -> None:
    for name in ("case 10", "case 2", "Case 1", "case 100", "case"):
        write_case(tmp_path, name)
    found = Collection(tmp_path, None)
    page: Any = found.page(Wanted())
    assert [item["name"] for item in page["items"]] == ["case", "Case 1", "case 2", "case 10", "case 100"]
    chosen = page["items"][3]["id"]
    assert page["place"] is None and found.page(Wanted(descending=True), near=chosen)["place"] == 1
    write_case(tmp_path, "case 3")
    found.refresh()
    assert found.page(Wanted(), near=chosen)["place"] == 4
    assert found.page(Wanted(text="100"), near=chosen)["place"] is None


def test_a_synthetic_folder_is_listed_while_it_is_written(tmp_path: Path) -> None:
    lines = [json.dumps(sample(n, accepted=True, prompt="a polyp", seam=0.1)) for n in range(3)]
    for number in range(3):
        write_case(tmp_path, f"synthetic-{number:06d}")
    (tmp_path / "manifest.jsonl").write_text(f"{lines[0]}\n{lines[1][:40]}", encoding="utf-8")
    found = Collection(tmp_path, None)
    assert len(found) == 1
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found.refresh()
    assert len(found) == 3
    (tmp_path / "images" / "synthetic-000001.png").unlink()
    found.refresh()
    assert [item["name"][-1] for item in found.page(Wanted())["items"]] == ["0", "2"]  # type: ignore[attr-defined]


def test_what_reviewers_say_is_told_apart_from_the_gates(
    data: syndiff.Dataset, evaluated: Path, tmp_path: Path
) -> None:
    painted = Collection(write_synthetic(tmp_path / "synthetic"), data)
    store = ReviewStore(tmp_path / "reviews.db")
    reviewing = Reviewing(store, [painted])
    for who, number, kind, value in (
        ("ann", 0, "reject", "colour"),
        ("ben", 0, "accept", ""),
        ("ann", 0, "rate", "2"),
        ("ann", 1, "rate", "4"),
    ):
        store.add(who, reviewing.subject(painted, f"synthetic-00000{number}"), kind, value)
    store.correct("ann", reviewing.subject(painted, "synthetic-000001"), np.eye(20, 24, dtype=bool))
    app = make_app(Models(()), None, Access(), [painted, *collections_of(evaluated, data)], reviewing)
    with store, TestClient(app, base_url=ORIGIN, headers={"X-Requested-With": "syndiff"}) as own:
        told = own.get("/api/browse").json()
        assert [(one["reviewed"], RATING in one["scores"]) for one in told] == [(True, True), (False, False)]
        states = ("rejected", "corrected", "accepted", "open")
        assert [names(own, f"0?review={state}") for state in states] == [["0"], ["1"], [], ["2"]]
        assert names(own, "0?gates=rejected&review=corrected") == ["1"] and not names(
            own, "0?gates=rejected&review=open"
        )
        assert names(own, f"0?sort={RATING}&descending=true") == ["1", "0", "2"]
        assert names(own, f"0?sort={RATING}&low=3") == ["1"]
        items = own.get(folder(own, 0)).json()["items"]
        found = [(item["reason"], item["review"]) for item in items]
        assert found == [("", "rejected"), ("seam", "corrected"), ("", "open")]
        assert {item["review"] for item in own.get(folder(own, 1)).json()["items"]} == {None}
        facts = [opened(own, 0, f"00000{number}")[1]["facts"] for number in range(3)]
        assert [each["reviewers"] for each in facts] == [
            "rejected: ann rejects it (colour), ben accepts it, mean rating 2 of 5",
            "corrected: ann accepts it, mean rating 4 of 5",
            "open",
        ]
        assert [each["gates"] for each in facts] == ["accepted", "rejected: seam: a visible edge", "accepted"]


def test_unknown_ids_are_sentences(asked: TestClient) -> None:
    unknown = hashlib.sha256(b"x").hexdigest()[:20]
    for address in (
        f"{folder(asked, 0)}/{unknown}",
        f"{folder(asked, 1)}/{unknown}/image.jpg",
        "/api/browse/0",
        f"/api/browse/{unknown[:16]}",
    ):
        answer = asked.get(address)
        assert answer.status_code == 404 and len(answer.json()["error"]) > 20
    address, _ = opened(asked, 1, "a")
    assert asked.get(f"{address}/source.jpg").status_code == 404
    assert "<title>SynDiff: browse" in asked.get("/").text  # without models it is the first page


def test_ten_thousand_cases_are_listed_without_reading_them(tmp_path: Path) -> None:
    write_case(tmp_path, "00000")
    for number in range(1, 10_000):
        for part in ("images", "masks"):
            (tmp_path / part / f"{number:05d}.png").hardlink_to(tmp_path / part / "00000.png")
    found = Collection(tmp_path, None)
    page = found.page(Wanted(), 9_950)
    assert page["total"] == 10_000 and len(page["items"]) == 50  # type: ignore[arg-type]


def test_what_cannot_be_browsed_is_a_sentence(syndiff, tmp_path, data, evaluated) -> None:
    other = tmp_path / "other"
    write_case(other, "a", colour=1)
    mistakes = {
        "holds nothing to browse": ["--browse", tmp_path],
        "is no folder": ["--browse", tmp_path / "nowhere"],
        "give their dataset with --data": ["--browse", evaluated],
        "is not what": ["--browse", evaluated, "--data", other],
        "There is nothing to serve": [],
        "--data has no effect": ["--run", evaluated, "--data", data.root],
    }
    for said, options in mistakes.items():
        outcome = syndiff("serve", *options)
        assert (outcome.status == 2 and said in outcome.err) or "holds no trained model" in outcome.err
    with pytest.raises(SyndiffError, match="give their dataset"):
        collections_of(evaluated, None)
