"""The blind test: half and half, nothing told before the end, the same after a reload, exact figures at the end."""

import hashlib
import io
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from scipy import stats
from small_folders import write_case, write_synthetic

from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.blind import BlindTest, BlindTests
from syndiff.inference.serve.blind_view import result
from syndiff.inference.serve.collections import Collection
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.security import Access
from syndiff.reviews.agreement import hit_rates
from syndiff.reviews.events import Event, Subject
from syndiff.reviews.state import fold
from syndiff.reviews.store import ReviewStore


@pytest.fixture
def reviewing(tmp_path: Path, decoder: Decoder) -> Iterator[Reviewing]:
    """Three real cases, one without a lesion and one the frame of all samples; two accepted samples, one rejected."""
    for number, name in enumerate(("a", "b", "c", "empty")):
        write_case(tmp_path / "data", name, size=(48, 40) if name == "b" else (24, 20), colour=90 + number)
    Image.fromarray(np.zeros((20, 24), np.uint8)).save(tmp_path / "data" / "masks" / "empty.png")
    folders = [Collection(tmp_path / "data", None), Collection(write_synthetic(tmp_path / "synthetic"), None)]
    with ReviewStore(tmp_path / "reviews.db") as store:
        made = Reviewing(store, folders, decoder)
        yield made


@pytest.fixture
def client(reviewing: Reviewing) -> Iterator[TestClient]:
    collections = [each.collection for each in reviewing.folders.values()]
    app = make_app(Models(()), None, Access(), collections, reviewing)
    with TestClient(app, base_url="http://127.0.0.1", headers={"X-Requested-With": "syndiff"}) as made:
        yield made


def keys(reviewing: Reviewing) -> dict[str, str]:
    return {
        "real" if each.collection.kind == "dataset" else "synthetic": each.key for each in reviewing.folders.values()
    }


def begin(client: TestClient, reviewing: Reviewing, **other: object) -> dict:
    body = {"reviewer": "ann", **keys(reviewing), "seed": 3, "count": 4, **other}
    answer = client.post("/api/blind", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def answer(client: TestClient, told: dict, value: str, **other: object) -> dict:
    case = told["case"]
    body = {"id": secrets.token_hex(16), "number": case["number"], "seen": case["seen"], "value": value, **other}
    made = client.post(f"/api/blind/{told['token']}/answers", json=body)
    assert made.status_code == 200, made.text
    return made.json()


def test_a_test_goes_to_its_end_and_only_then_tells_what_was_true(client: TestClient, reviewing: Reviewing) -> None:
    told = begin(client, reviewing)
    order = [case.truth for case in BlindTests(reviewing).drawn(BlindTest.of(told["token"])).cases]
    assert sorted(order) == ["real", "real", "synthetic", "synthetic"]
    for number in range(4):
        assert told["case"]["number"] == number == told["answered"] and told["result"] is None
        assert set(told["case"]) == {"number", "width", "height", "seen", "mask"}
        assert client.get(f"/api/blind/{told['token']}").json() == told  # as a reload finds it
        picture = client.get(f"/api/blind/{told['token']}/{number}.jpg")
        assert Image.open(io.BytesIO(picture.content)).size == (24, 20)  # the largest one is reduced to the others
        told = answer(client, told, "real")
    assert told["case"] is None
    assert (told["result"]["right"], told["result"]["answers"], told["result"]["share"]) == (2, 4, 0.5)
    assert told["result"]["called"]["synthetic"] == {"real": 2, "synthetic": 0}
    assert "Guessing alone would explain this (p = 1.00" in told["result"]["meaning"]
    events = reviewing.store.events()
    assert [event.truth for event in events] == order and {event.kind for event in events} == {"guess"}
    (found,) = hit_rates(list(fold(events).values()))
    assert (found.right, found.low, found.high) == (2, told["result"]["low"], told["result"]["high"])
    late = client.post(f"/api/blind/{told['token']}/undo", json={"number": 3, "id": "a" * 32})
    assert late.status_code == 409 and "its truth is told" in late.json()["error"]
    again = client.post("/api/blind", json={"reviewer": "ann", **keys(reviewing), "seed": 3, "count": 2})
    assert again.status_code == 422 and "choose 0 cases at most" in again.json()["error"]  # each is asked once


def test_a_test_goes_on_after_a_restart_and_ends_with_a_changed_folder(
    client: TestClient, reviewing: Reviewing, tmp_path: Path
) -> None:
    told = answer(client, begin(client, reviewing), "synthetic")
    test = BlindTest.of(told["token"])
    fresh = BlindTests(reviewing)  # what another server makes of the address
    assert len(fresh.answers(test)) == 1
    write_case(tmp_path / "data", "aa")
    write_case(tmp_path / "data", "ab")
    for folder in reviewing.folders.values():
        folder.collection.refresh()
    assert client.get(f"/api/blind/{told['token']}").status_code == 200  # this server holds its order
    other = make_app(
        Models(()), None, Access(), [each.collection for each in reviewing.folders.values()],
        Reviewing(reviewing.store, [each.collection for each in reviewing.folders.values()], reviewing.decoder),
    )  # fmt: skip
    with TestClient(other, base_url="http://127.0.0.1", headers={"X-Requested-With": "syndiff"}) as anew:
        ended = anew.get(f"/api/blind/{told['token']}")
        assert ended.status_code == 409 and "folders have changed" in ended.json()["error"]


def test_a_resent_answer_counts_once_and_the_last_one_can_be_taken_back(
    client: TestClient, reviewing: Reviewing
) -> None:
    told = begin(client, reviewing)
    after = answer(client, told, "real", id="1" * 32)
    assert answer(client, told, "real", id="1" * 32) == after and len(reviewing.store.events()) == 1
    stale = {"id": "2" * 32, "number": 0, "seen": told["case"]["seen"], "value": "real"}
    refused = client.post(f"/api/blind/{told['token']}/answers", json=stale)
    assert refused.status_code == 409 and "in another tab" in refused.json()["error"]
    undo = {"number": 0, "id": "3" * 32}
    assert client.post(f"/api/blind/{told['token']}/undo", json=undo).json()["case"] == told["case"]
    assert client.post(f"/api/blind/{told['token']}/undo", json=undo).json()["answered"] == 0
    refused = client.post(f"/api/blind/{told['token']}/undo", json={"number": 0, "id": "4" * 32})
    assert refused.status_code == 409 and "nothing to take back" in refused.json()["error"]


def test_a_case_that_changed_or_is_gone_is_told_without_its_name(
    client: TestClient, reviewing: Reviewing, tmp_path: Path
) -> None:
    told = begin(client, reviewing)
    case = BlindTests(reviewing).drawn(BlindTest.of(told["token"])).cases[0]
    image = case.folder.collection[case.id].image
    write_case(image.parents[1], case.name, colour=5)
    body = {"id": "1" * 32, "number": 0, "seen": told["case"]["seen"], "value": "real"}
    changed = client.post(f"/api/blind/{told['token']}/answers", json=body)
    assert changed.status_code == 409 and "changed while you looked" in changed.json()["error"]
    image.unlink()
    for gone in (
        client.post(f"/api/blind/{told['token']}/answers", json=body),
        client.get(f"/api/blind/{told['token']}/0.jpg"),
        client.get(f"/api/blind/{told['token']}"),
    ):
        assert gone.status_code == 409 and image.name not in gone.text and "begin a new test" in gone.json()["error"]
    assert reviewing.store.events() == []


def test_what_cannot_be_a_test_is_a_sentence(client: TestClient, reviewing: Reviewing) -> None:
    known = keys(reviewing)
    for status, said, wrong in (
        (422, "expected an even number", {"count": 3}),
        (422, "there are 2 synthetic cases with a lesion", {"count": 6}),
        (422, "mixes a dataset and a synthetic dataset", {"real": known["synthetic"]}),
        (404, "not reviewed here", {"real": "0" * 16}),
        (422, "reviewer is", {"reviewer": "=ann"}),
        (422, "form that this page sends", {"seed": -1}),
    ):
        made = client.post("/api/blind", json={"reviewer": "ann", **known, "seed": 0, "count": 4, **wrong})
        assert made.status_code == status and said in made.json()["error"], made.text
    for token in ("x", "e30", hashlib.sha256(b"").hexdigest(), "W1t" * 500):
        assert client.get(f"/api/blind/{token}").status_code == 404


def test_frames_are_not_shown_twice_where_there_are_others(reviewing: Reviewing) -> None:
    """`a` is the source frame of all samples: a test of one sample has another real case."""
    known = keys(reviewing)
    for seed in range(12):
        tests = BlindTests(reviewing)
        drawn = tests.drawn(tests.begin("ann", known["real"], known["synthetic"], seed, 2))
        names = {case.truth: case.name for case in drawn.cases}
        assert names["real"] in ("b", "c") and names["synthetic"] != "synthetic-000001" and drawn.repeated == 0
    assert tests.drawn(tests.begin("ann", known["real"], known["synthetic"], 0, 4)).repeated == 1


@pytest.mark.parametrize(("right", "said"), [(20, "would explain"), (29, "told synthetic"), (5, "wrong way round")])
def test_the_result_is_the_binomial_test(right: int, said: str) -> None:
    subject = Subject("0" * 64, "x", "x", "0" * 64, (1, 1))
    events = [
        Event(
            id=f"{number:032x}", time="2026-01-01T00:00:00.000000Z", reviewer="ann", dataset=subject.dataset, name="x",
            case="x", content=subject.content, kind="guess", truth="real" if number % 2 else "synthetic",
            value=("real" if number % 2 else "synthetic") if number < right else "synthetic" if number % 2 else "real",
        )
        for number in range(40)
    ]  # fmt: skip
    told, exact = result("ann", events), stats.binomtest(right, 40)
    interval = exact.proportion_ci(method="exact")
    assert told["right"] == right and told["p"] == exact.pvalue and said in told["meaning"]
    assert (told["low"], told["high"]) == (interval.low, interval.high)


def finish(client: TestClient, told: dict) -> dict:
    while told["case"]:
        told = answer(client, told, "real")
    return told


def test_two_tests_of_one_reviewer_do_not_answer_each_other(client: TestClient, reviewing: Reviewing) -> None:
    """As in two tabs: both are drawn from the same cases by the same seed."""
    first, second = begin(client, reviewing), begin(client, reviewing)
    assert finish(client, second)["result"]["answers"] == 4
    now = client.get(f"/api/blind/{first['token']}").json()
    assert now["answered"] == 0 and now["case"] == first["case"]
    assert finish(client, now)["result"]["answers"] == 4 and len(reviewing.store.events()) == 8


def test_answers_on_cases_of_the_same_names_in_another_folder_do_not_count(
    client: TestClient, reviewing: Reviewing, tmp_path: Path
) -> None:
    finish(client, begin(client, reviewing))
    other = write_synthetic(tmp_path / "other")
    for path in other.glob("images/*.png"):
        Image.new("RGB", (24, 20), (10, 20, 30)).save(path)
    real = next(each.collection for each in reviewing.folders.values() if each.collection.kind == "dataset")
    more = Reviewing(reviewing.store, [real, Collection(other, None)], reviewing.decoder)
    known = keys(more)
    assert len(BlindTests(more).answers(BlindTests(more).begin("ann", known["real"], known["synthetic"], 3, 2))) == 0


def test_cases_that_the_reviewer_has_seen_in_review_come_last_and_are_told(
    client: TestClient, reviewing: Reviewing
) -> None:
    real, synthetic = (each.collection for each in reviewing.folders.values())
    for number, (folder, name) in enumerate(((real, "b"), (synthetic, "synthetic-000002"))):
        reviewing.add("ann", reviewing.subject(folder, name), "accept", id=f"{number:032x}")
    for seed in range(6):
        tests = BlindTests(reviewing)
        for who, others in (("ann", {"c", "synthetic-000000"}), ("ben", None)):
            drawn = tests.drawn(tests.begin(who, *(each.key for each in reviewing.folders.values()), seed, 2))
            assert drawn.reviewed == 0 and others in (None, {case.name for case in drawn.cases})
    told = begin(client, reviewing)
    assert told["reviewed"] == 1 and "1 of these cases you had reviewed before the test" in told["cautions"][-1]
    assert "you had reviewed before the test" in finish(client, told)["result"]["meaning"]


def test_sizes_of_files_are_not_told_and_shapes_that_differ_are(
    client: TestClient, reviewing: Reviewing, tmp_path: Path
) -> None:
    """`b` has twice the pixels of the others each way."""
    told = begin(client, reviewing, count=4, seed=1)
    names = [case.name for case in BlindTests(reviewing).drawn(BlindTest.of(told["token"])).cases]
    assert "b" in names and not [text for text in told["cautions"] if "sizes" in text]
    for name in names:
        assert (told["case"]["width"], told["case"]["height"]) == (24, 20)
        corners = [int(each) for each in re.findall(r"\d+", told["case"]["mask"]["path"])]
        assert max(corners) <= (13 if name != "b" else 7)
        told = answer(client, told, "real")
    write_case(tmp_path / "data", "wide", size=(40, 14))
    reviewing.folders[keys(reviewing)["real"]].collection.refresh()
    told = begin(client, reviewing, count=4, reviewer="ben", seed=1)
    shapes = [case.size for case in BlindTests(reviewing).drawn(BlindTest.of(told["token"])).cases]
    assert ((40, 14) in shapes) == any("2 different sizes" in text for text in told["cautions"])
    assert (40, 14) in shapes
