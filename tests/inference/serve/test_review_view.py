"""Review: the queue, a decision that is kept once or refused with a sentence, undo, two reviewers, their agreement."""

import contextlib
import errno
import io
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from small_folders import write_case, write_synthetic

from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.collections import Collection
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.security import Access
from syndiff.reviews.store import ReviewStore

HEADERS = {"X-Requested-With": "syndiff"}
Opener = Callable[..., TestClient]


@pytest.fixture
def opener(tmp_path: Path, decoder: Decoder) -> Iterator[Opener]:
    """Starts a server on folders and a file of reviews, as often as one likes."""
    running: list[tuple[TestClient, ReviewStore]] = []

    def start(*folders: Path) -> TestClient:
        store = ReviewStore(tmp_path / "reviews.db")
        found = [Collection(root, None) for root in folders]
        app = make_app(Models(()), None, Access(), found, Reviewing(store, found, decoder))
        client = TestClient(app, base_url="http://127.0.0.1", headers=HEADERS, raise_server_exceptions=False)
        running.append((client.__enter__(), store))
        return client

    yield start
    for client, store in running:
        client.__exit__(None, None, None)
        store.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, name in enumerate("abc"):
        write_case(tmp_path / "data", name, colour=90 + number)
    return tmp_path / "data"


def key_of(client: TestClient, kind: str = "dataset") -> str:
    return next(one["key"] for one in client.get("/api/review").json()["folders"] if one["kind"] == kind)


def ids(client: TestClient, key: str, query: str = "") -> list[str]:
    return client.get(f"/api/review/{key}?reviewer=ann{query}").json()["ids"]


def decide(client: TestClient, case: str, kind: str, value: str = "", **other: str) -> dict:
    shown = client.get(f"{case}?reviewer=ann").json()
    body = {"id": secrets.token_hex(16), "reviewer": "ann", "content": shown["content"], "kind": kind, "value": value}
    answer = client.post(f"{case}/events", json={**body, **other})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_cases_are_decided_on_and_those_that_wait_come_first(opener: Opener, data: Path) -> None:
    client = opener(data)
    told = client.get("/api/review").json()
    assert [(one["kind"], one["cases"]) for one in told["folders"]] == [("dataset", 3)] and len(told["reasons"]) == 8
    key = key_of(client)
    first, second, third = ids(client, key)
    base = f"/api/review/{key}/cases"
    shown = client.get(f"{base}/{first}?reviewer=ann").json()
    assert (shown["name"], shown["width"], shown["height"]) == ("a", 24, 20) and shown["mask"]["path"].startswith("M")
    assert Image.open(io.BytesIO(client.get(f"{base}/{first}/picture.jpg").content)).size == (24, 20)
    mask = np.asarray(Image.open(io.BytesIO(client.get(f"{base}/{first}/mask.png?reviewer=ann").content)))
    np.testing.assert_array_equal(mask, np.asarray(Image.open(data / "masks" / "a.png")))
    decide(client, f"{base}/{first}", "rate", "4")
    after = decide(client, f"{base}/{first}", "reject", "seam")
    assert after["mine"] == {"decision": "reject", "reason": "seam", "rating": 4, "corrected": False}
    assert (after["decided"], after["cases"], after["states"]["open"], after["last"]["name"]) == (1, 3, 2, "a")
    decide(client, f"{base}/{second}", "accept", reviewer="ben")
    assert ids(client, key) == [second, third, first]
    assert client.get(f"/api/review/{key}?reviewer=ann").json()["undecided"] == 2
    assert ids(client, key, "&state=accepted") == [second] and ids(client, key, "&state=open") == [third]
    assert ids(client, key, "&state=mine") == [first] == ids(client, key, "&state=rejected")


def test_the_last_decision_is_taken_back_once_and_then_the_one_before(opener: Opener, data: Path) -> None:
    client = opener(data)
    key = key_of(client)
    one, two, _ = ids(client, key)
    base = f"/api/review/{key}"
    decide(client, f"{base}/cases/{one}", "accept")
    last = decide(client, f"{base}/cases/{two}", "reject", "blurred")["last"]
    undo = {"id": "5" * 32, "reviewer": "ann", "event": last["event"]}
    first = client.post(f"{base}/undo", json=undo).json()
    assert first["decided"] == 1 and first["last"]["name"] == "a"
    assert client.post(f"{base}/undo", json=undo).json() == first  # its answer was lost: once all the same
    stale = client.post(f"{base}/undo", json={**undo, "id": "6" * 32})
    assert stale.status_code == 409 and "in another tab" in stale.json()["error"]
    client.post(f"{base}/undo", json={"id": "7" * 32, "reviewer": "ann", "event": first["last"]["event"]})
    assert client.get(f"{base}/progress?reviewer=ann").json()["last"] is None


def test_a_resent_decision_is_kept_once_even_where_the_case_changed_since(
    opener: Opener, data: Path, tmp_path: Path
) -> None:
    client = opener(data)
    case = f"/api/review/{key_of(client)}/cases/{ids(client, key_of(client))[0]}"
    content = client.get(f"{case}?reviewer=ann").json()["content"]
    body = {"id": "a" * 32, "reviewer": "ann", "content": content, "kind": "accept", "value": ""}
    assert client.post(f"{case}/events", json=body).status_code == 200
    write_case(data, "a", colour=10)
    assert client.post(f"{case}/events", json=body).status_code == 200
    other = client.post(f"{case}/events", json={**body, "kind": "reject", "value": "seam"})
    assert other.status_code == 422 and "draw a new id" in other.json()["error"]
    late = client.post(f"{case}/events", json={**body, "id": "b" * 32})
    assert late.status_code == 409 and "a was changed while you looked at it" in late.json()["error"]
    (data / "images" / "a.png").unlink()
    gone = client.post(f"{case}/events", json={**body, "id": "c" * 32})
    assert gone.status_code == 409 and "a.png is not in the folder any more" in gone.json()["error"]
    with ReviewStore(tmp_path / "reviews.db") as store:
        assert len(store.events()) == 1


def test_a_stale_tab_decides_on_no_other_case(opener: Opener, data: Path, tmp_path: Path) -> None:
    """The server was started anew: on another folder, or on the same one whose case `a` is another picture now."""
    client = opener(data)
    key = key_of(client)
    case = f"/api/review/{key}/cases/{ids(client, key)[0]}"
    content = client.get(f"{case}?reviewer=ann").json()["content"]
    write_case(tmp_path / "other", "a", colour=200)
    again = opener(tmp_path / "other")
    body = {"id": "a" * 32, "reviewer": "ann", "content": content, "kind": "accept", "value": ""}
    lost = again.post(f"{case}/events", json=body)
    assert lost.status_code == 404 and "started anew" in lost.json()["error"]
    write_case(data, "a", colour=200)
    assert opener(data).post(f"{case}/events", json=body).status_code == 409
    with ReviewStore(tmp_path / "reviews.db") as store:
        assert store.events() == []


def test_a_full_disk_is_507_and_nothing_is_kept(opener: Opener, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = opener(data)
    case = f"/api/review/{key_of(client)}/cases/{ids(client, key_of(client))[0]}"
    content = client.get(f"{case}?reviewer=ann").json()["content"]
    body = {"id": "a" * 32, "reviewer": "ann", "content": content, "kind": "accept", "value": ""}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/reviews.db")

    with monkeypatch.context() as patch:
        patch.setattr(ReviewStore, "add", full)
        answer = client.post(f"{case}/events", json=body)
        assert answer.status_code == 507 and "reviews.db is full: this was not saved" in answer.json()["error"]
        assert "secret" not in answer.text
    assert client.post(f"{case}/events", json=body).status_code == 200


def test_wrong_requests_are_sentences(opener: Opener, data: Path) -> None:
    client = opener(data)
    key = key_of(client)
    case = f"/api/review/{key}/cases/{ids(client, key)[0]}"
    good = {
        "id": "a" * 32, "reviewer": "ann", "content": client.get(f"{case}?reviewer=ann").json()["content"],
        "kind": "reject", "value": "seam",
    }  # fmt: skip
    for wrong in (
        {"id": "x"}, {"content": "0"}, {"kind": "guess"}, {"kind": "undo", "value": "a" * 32}, {"value": "ugly"},
        {"kind": "rate", "value": "9"}, {"reviewer": ""}, {"reviewer": "=ann"}, {"reviewer": "\ud800"},
    ):  # fmt: skip
        answer = client.post(f"{case}/events", content=ascii_json({**good, **wrong}))
        assert answer.status_code == 422 and len(answer.json()["error"]) > 20, wrong
    for address in (f"/api/review/{'0' * 16}?reviewer=ann", f"/api/review/{key}/cases/{'0' * 20}?reviewer=ann"):
        assert client.get(address).status_code == 404
    assert client.get(f"/api/review/{key}?reviewer=%3D1").status_code == 422
    foreign = client.post(f"{case}/events", json=good, headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403
    assert client.get(f"/api/review/{key}/progress?reviewer=ann").json()["decided"] == 0


def ascii_json(content: dict) -> bytes:
    import json

    return json.dumps(content).encode()


def test_two_reviewers_at_once_are_both_kept_and_their_agreement_is_told(opener: Opener, tmp_path: Path) -> None:
    for number in range(8):
        write_case(tmp_path / "data", f"c{number}", colour=60 + number)
    client = opener(tmp_path / "data")
    key = key_of(client)
    cases = [f"/api/review/{key}/cases/{one}" for one in ids(client, key)]
    assert client.get(f"/api/review/{key}/agreement").json() == {"decided": {}, "agreement": None}

    def review(who: str) -> None:
        for number, case in enumerate(cases):
            agree = number < 4 or who == "ann"
            decide(
                client,
                case,
                "accept" if number % 2 == agree else "reject",
                "" if number % 2 == agree else "seam",
                reviewer=who,
            )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(review, ("ann", "ben")))
    told = client.get(f"/api/review/{key}/agreement").json()
    assert told["decided"] == {"ann": 8, "ben": 8}
    assert told["agreement"]["method"] == "Cohen's" and told["agreement"]["kappa"] == pytest.approx(0)
    assert told["agreement"]["cases"] == 8 and told["agreement"]["low"] < 0 < told["agreement"]["high"]


def test_a_folder_that_has_grown_is_listed_again(opener: Opener, data: Path, tmp_path: Path) -> None:
    synthetic = write_synthetic(tmp_path / "synthetic")
    client = opener(data, synthetic)
    key = key_of(client, "synthetic")
    assert len(ids(client, key)) == 3  # one of them was rejected by the gates
    write_case(data, "d")
    key = key_of(client)
    assert client.post(f"/api/review/{key}/refresh").json()["folders"][0]["cases"] == 4 and len(ids(client, key)) == 4


def test_an_undo_takes_back_nothing_of_another_folder(opener: Opener, tmp_path: Path) -> None:
    """Both have cases of the same names, and other pictures."""
    one, two = write_synthetic(tmp_path / "one"), write_synthetic(tmp_path / "two")
    for path in two.glob("**/images/*.png"):
        Image.new("RGB", (24, 20), (10, 20, 30)).save(path)
    client = opener(one, two)
    first, second = (each["key"] for each in client.get("/api/review").json()["folders"])
    last = decide(client, f"/api/review/{first}/cases/{ids(client, first)[0]}", "accept")["last"]
    assert client.get(f"/api/review/{second}/progress?reviewer=ann").json()["last"] is None
    undo = {"id": "5" * 32, "reviewer": "ann", "event": last["event"]}
    assert client.post(f"/api/review/{second}/undo", json=undo).status_code == 409
    assert client.get(f"/api/review/{first}/progress?reviewer=ann").json()["decided"] == 1


def test_cases_that_training_can_use_come_first(opener: Opener, tmp_path: Path) -> None:
    client = opener(write_synthetic(tmp_path / "synthetic"))
    key = key_of(client, "synthetic")
    base = f"/api/review/{key}/cases"
    names = [client.get(f"{base}/{one}?reviewer=ann").json()["name"][-1] for one in ids(client, key)]
    assert names == ["0", "2", "1"]
    zero, two, one = ids(client, key)
    assert client.get(f"{base}/{one}?reviewer=ann").json()["reason"] == "seam"
    decide(client, f"{base}/{zero}", "accept")
    assert ids(client, key) == [two, one, zero]
    assert ids(client, key, "&state=gates_accepted") == [two, zero]
    assert ids(client, key, "&state=gates_rejected") == [one]


def test_what_is_away_for_a_moment_is_503_and_can_be_sent_again(opener: Opener, data: Path, tmp_path: Path) -> None:
    client = opener(data)
    case = f"/api/review/{key_of(client)}/cases/{ids(client, key_of(client))[0]}"
    content = client.get(f"{case}?reviewer=ann").json()["content"]
    body = {"id": "a" * 32, "reviewer": "ann", "content": content, "kind": "accept", "value": ""}
    for path in (data, data / "images", tmp_path / "reviews.db"):
        away = path.rename(tmp_path / "away")
        answer = client.post(f"{case}/events", json=body)
        assert answer.status_code == 503 and str(tmp_path) not in answer.text
        assert "back" in answer.json()["error"]
        away.rename(path)
    assert client.post(f"{case}/events", json=body).status_code == 200


def test_a_file_that_is_held_or_damaged_is_503_without_its_path(
    opener: Opener, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syndiff.reviews.store._PATIENCE", 0.05)
    client = opener(data)
    case = f"/api/review/{key_of(client)}/cases/{ids(client, key_of(client))[0]}"
    content = client.get(f"{case}?reviewer=ann").json()["content"]
    body = {"id": "a" * 32, "reviewer": "ann", "content": content, "kind": "accept", "value": ""}
    with contextlib.closing(sqlite3.connect(tmp_path / "reviews.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        held = client.post(f"{case}/events", json=body)
        assert held.status_code == 503 and held.json()["error"].startswith("reviews.db is held by another program")
        other.execute("ROLLBACK")
        assert client.post(f"{case}/events", json=body).status_code == 200
        other.execute(
            "INSERT INTO events SELECT NULL, 'x', time, reviewer, dataset, name, \"case\", content, kind, value,"
            " truth FROM events"
        )
    damaged = client.get(f"{case}?reviewer=ann")
    assert damaged.status_code == 503 and damaged.json()["error"].startswith("reviews.db is damaged: id is 'x'")


def test_the_page_is_told_which_file_keeps_the_reviews(opener: Opener, data: Path, tmp_path: Path) -> None:
    told = opener(data).get("/api/review").json()
    assert told["file"] == "reviews.db" and len(told["file_id"]) == 32
    assert opener(data).get("/api/review").json()["file_id"] == told["file_id"]
    (tmp_path / "reviews.db").rename(tmp_path / "other.db")
    assert opener(data).get("/api/review").json()["file_id"] != told["file_id"]


def test_kappa_that_is_not_defined_has_a_reason(opener: Opener, data: Path) -> None:
    client = opener(data)
    key = key_of(client)
    first, second, _ = (f"/api/review/{key}/cases/{one}" for one in ids(client, key))
    decide(client, first, "accept")
    decide(client, second, "accept", reviewer="ben")
    agreement = client.get(f"/api/review/{key}/agreement").json()["agreement"]
    assert agreement["kappa"] is None and agreement["why"] == "they have no case in common"
    decide(client, second, "accept")
    agreement = client.get(f"/api/review/{key}/agreement").json()["agreement"]
    assert agreement["kappa"] is None and agreement["why"] == "all of them gave one answer"


def test_a_second_spelling_of_a_reviewer_is_refused_before_any_work(opener: Opener, data: Path) -> None:
    client = opener(data)
    key = key_of(client)
    decide(client, f"/api/review/{key}/cases/{ids(client, key)[0]}", "accept")
    alike = client.get(f"/api/review/{key}/progress?reviewer=Ann")
    assert alike.status_code == 422 and "'ann' has reviewed here" in alike.json()["error"]
