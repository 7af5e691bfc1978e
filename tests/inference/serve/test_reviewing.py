"""What the page works on: cases as they are now, what counts of them, and nothing of any other case."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_folders import write_case, write_synthetic

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.inference.serve.collections import Collection
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.reviewing import Reviewing, check_reviewable
from syndiff.reviews.events import Subjects
from syndiff.reviews.state import reviews_of
from syndiff.reviews.store import ReviewStore


@pytest.fixture
def real(tmp_path: Path) -> Collection:
    for number, name in enumerate("abc"):
        write_case(tmp_path / "data", name, colour=90 + number)
    return Collection(tmp_path / "data", None)


@pytest.fixture
def painted(tmp_path: Path) -> Collection:
    return Collection(write_synthetic(tmp_path / "synthetic"), None)


@pytest.fixture
def reviewing(tmp_path: Path, real: Collection, painted: Collection, decoder: Decoder) -> Iterator[Reviewing]:
    with ReviewStore(tmp_path / "reviews.db") as store:
        made = Reviewing(store, [real, painted], decoder)
        yield made


def test_what_is_said_on_the_page_is_what_training_hears(
    reviewing: Reviewing, real: Collection, painted: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    subject = reviewing.subject(painted, "synthetic-000000")
    dataset = Dataset.open(painted.root)
    assert subject == Subjects(dataset)["synthetic-000000"]
    reviewing.add("ann", subject, "accept", id="1" * 32)
    refused = reviewing.subject(painted, "synthetic-000001")  # by the gates: in a dataset of its own
    assert refused.dataset == Dataset.open(painted.root / "rejected").fingerprint()
    reviewing.add("ann", refused, "reject", "seam", id="2" * 32)
    reviewing.add("ben", reviewing.subject(real, "b"), "rate", "5", id="3" * 32)
    assert {name: each.state for name, each in reviewing.states(painted).items()} == {
        "synthetic-000000": "accepted", "synthetic-000001": "rejected",
    }  # fmt: skip
    assert reviewing.states(real)["b"].rating == 5
    events = reviewing.store.events()
    assert {name: each.state for name, each in reviews_of(dataset, events).items()} == {"synthetic-000000": "accepted"}
    assert not caplog.messages  # a rejected sample is not missed
    assert reviewing.opinion(subject, "ann").decision == "accept" and not reviewing.opinion(subject, "ben").decision


def test_an_event_of_another_program_counts_at_once_and_an_undone_one_no_more(
    reviewing: Reviewing, real: Collection, tmp_path: Path
) -> None:
    assert reviewing.states(real) == {}
    subject = reviewing.subject(real, "a")
    with ReviewStore(tmp_path / "reviews.db") as other:
        event = other.add("ben", subject, "reject", "shape")
        assert reviewing.states(real)["a"].state == "rejected" and reviewing.present.counting("ben") == [event]
        other.add("ben", subject, "undo", event.id)
        assert reviewing.states(real) == {} and reviewing.present.counting("ben") == []


def test_only_reviewed_cases_are_read(reviewing: Reviewing, real: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    reviewed = type(reviewing.decoder).reviewed
    monkeypatch.setattr(
        type(reviewing.decoder), "reviewed", lambda self, *args: read.append(args[1].id) or reviewed(self, *args)
    )
    subject = Subjects(Dataset.open(real.root))["b"]
    reviewing.store.add("ann", subject, "accept")
    for _ in range(2):
        assert list(reviewing.states(real)) == ["b"]
    assert read == []  # the folder is the one that was reviewed, byte for byte
    assert reviewing.subject(real, "b") == subject and read == ["b"]
    write_case(real.root, "d")
    real.refresh()
    again = Reviewing(reviewing.store, [real], reviewing.decoder)
    assert list(again.states(real)) == ["b"] and read == ["b", "b"]
    write_case(real.root, "b", colour=1)
    real.refresh()
    assert again.states(real) == {}


def test_a_case_that_was_changed_or_deleted_is_not_decided_on(reviewing: Reviewing, real: Collection) -> None:
    folder = next(each for each in reviewing.folders.values() if each.collection is real)
    key = folder.names["a"]
    seen = folder.shown(key).content
    reviewing.add("ann", reviewing.shown_subject(folder, key, seen), "accept", id="1" * 32)
    write_case(real.root, "a", colour=20)
    with pytest.raises(Refusal, match="a was changed while you looked at it") as refused:
        reviewing.shown_subject(folder, key, seen)
    assert refused.value.status == 409
    (real.root / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(Refusal, match=r"The case was changed: a\.png is damaged") as refused:
        reviewing.shown_subject(folder, key, seen)
    (real.root / "masks" / "a.png").unlink()
    with pytest.raises(Refusal, match=r"a\.png is not in the folder any more") as refused:
        reviewing.shown_subject(folder, key, seen)
    assert refused.value.status == 409 and reviewing.states(real) == {}
    with pytest.raises(Refusal, match="not in the folder"):
        reviewing.subject(real, "nowhere")


def test_a_fingerprint_is_taken_again_only_where_the_folder_changed(reviewing: Reviewing, real: Collection) -> None:
    before = reviewing.subject(real, "a").dataset
    times = []
    fingerprint = Dataset.fingerprint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dataset, "fingerprint", lambda self: times.append(1) or fingerprint(self))
        real.refresh()
        assert reviewing.subject(real, "a").dataset == before and not times
        write_case(real.root, "d")
        real.refresh()
        assert reviewing.subject(real, "d").dataset == Dataset.open(real.root).fingerprint() != before
        assert reviewing.subject(real, "a").dataset != before and len(times) == 2


def test_a_full_disk_is_a_sentence(reviewing: Reviewing, real: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "reviews.db")

    subject = reviewing.subject(real, "a")
    monkeypatch.setattr(reviewing.store, "add", full)
    with pytest.raises(Refusal, match=r"disk that holds reviews\.db is full: this was not saved") as refused:
        reviewing.add("ann", subject, "accept", id="1" * 32)
    assert refused.value.status == 507


def test_an_event_that_is_sent_again_is_kept_once(reviewing: Reviewing, real: Collection) -> None:
    subject = reviewing.subject(real, "a")
    first = reviewing.add("ann", subject, "rate", "4", id="1" * 32)
    assert reviewing.add("ann", subject, "rate", "4", id="1" * 32) == first
    back = reviewing.undo("ann", first, id="2" * 32)
    assert reviewing.undo("ann", first, id="2" * 32) == back and len(reviewing.store.events()) == 2
    for who, kind, value in (("ben", "rate", "4"), ("ann", "rate", "5"), ("ann", "accept", "")):
        with pytest.raises(SyndiffError, match="another event stands under 1111"):
            reviewing.add(who, subject, kind, value, id="1" * 32)


def test_a_mask_is_shown_as_it_is_and_as_it_was_corrected(reviewing: Reviewing, real: Collection) -> None:
    folder = next(each for each in reviewing.folders.values() if each.collection is real)
    subject = reviewing.subject(real, "a")
    better = np.zeros(subject.shape, bool)
    better[2:6, 2:20] = True
    before = folder.shown(folder.names["a"])
    reviewing.store.correct("ann", subject, better)
    mine = reviewing.corrected(subject, "ann")
    assert mine is not None and reviewing.corrected(subject, "ben") is None
    after = folder.shown(folder.names["a"], mine)
    assert after.content == before.content and after.contour != before.contour and not after.empty
    mask = np.asarray(Image.open(real.root / "masks" / "a.png"))
    Path(real.root.parent / "copy.png").write_bytes(folder.mask(folder.names["a"]))
    np.testing.assert_array_equal(np.asarray(Image.open(real.root.parent / "copy.png")), mask)


def test_a_damaged_file_is_refused_before_anybody_works_on_it(reviewing: Reviewing, real: Collection) -> None:
    reviewing.store.add("ann", reviewing.subject(real, "a"), "accept")
    with contextlib.closing(sqlite3.connect(reviewing.store.path, isolation_level=None)) as other:
        other.execute("DROP TRIGGER no_update")
        other.execute("UPDATE events SET value = 'great'")
    with pytest.raises(SyndiffError, match="is damaged: value is 'great'"):
        Reviewing(reviewing.store, [real])


def test_what_cannot_be_reviewed_is_a_sentence(syndiff, tmp_path: Path, real: Collection, evaluated: Path) -> None:
    outcome = syndiff("serve", "--reviews", tmp_path / "r.db", "--run", tmp_path)
    assert outcome.status == 2 and "--reviews has no effect without --browse" in outcome.err
    (tmp_path / "r.db").write_bytes(b"no reviews, but a text that is long enough")
    outcome = syndiff("serve", "--reviews", tmp_path / "r.db", "--browse", real.root, "--port", 0)
    assert outcome.status == 2 and "is no file of reviews" in outcome.err
    outcome = syndiff(
        "serve",
        "--reviews",
        tmp_path / "new.db",
        "--browse",
        evaluated,
        "--data",
        evaluated.parent / "data",
        "--port",
        0,
    )
    assert outcome.status == 2 and "nothing of --browse can be reviewed" in outcome.err
    assert not (tmp_path / "new.db").exists()
    check_reviewable([real])
