"""What was acknowledged is kept, by several processes, through kills and copies; nothing is ever changed."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reviewing import subject

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.reviews.events import KINDS, Subjects
from syndiff.reviews.state import fold, reviews_of
from syndiff.reviews.store import ReviewStore, Unavailable

WRITER = """
import sys
sys.path.insert(0, {tests!r})
from reviewing import subject
from syndiff.reviews.store import ReviewStore
with ReviewStore({path!r}) as store:
    for number in range({count}):
        print(store.add({who!r}, subject(f"case-{{number}}"), "accept").id, flush=True)
"""

FORKING = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from reviewing import subject
from syndiff.reviews.store import ReviewStore
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    process = os.fork()
    if process:
        print(process, flush=True)
        continue
    with ReviewStore({path!r}) as store, open(line.strip(), "w") as heard:
        for number in range(10_000):
            print(store.add("ann", subject(f"case-{{number}}"), "accept").id, file=heard, flush=True)
"""
"""For each pipe that is named to it, a writer in a process of its own; one start of Python for all."""


def writer(path: Path, who: str, count: int) -> subprocess.Popen[str]:
    script = WRITER.format(tests=str(Path(__file__).parent), path=str(path), who=who, count=count)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def test_a_case_is_accepted_rejected_corrected_and_undone(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    with ReviewStore(tmp_path / "new" / "reviews.db") as store:
        store.add("ann", subject("a"), "accept")
        store.add("ann", subject("a"), "rate", "4")
        store.add("ben", subject("a"), "rate", "1")
        rejected = store.add("ann", subject("b"), "reject", "blurred")
        store.correct("ann", subject("b"), mask)
        corrected = store.correct("ben", subject("c"), mask)
        store.add("ann", subject("c"), "reject", "place")
        reviews = {case: review for (case, _), review in fold(store.events()).items()}
        assert {case: review.state for case, review in reviews.items()} == {
            "a": "accepted", "b": "corrected", "c": "rejected",
        }  # fmt: skip
        assert reviews["a"].rating == 2.5
        assert (store.mask(str(reviews["b"].mask)) == mask).all()
        store.add("ann", subject("b"), "undo", rejected.id)  # a correction is the last word all the same
        store.add("ben", subject("c"), "undo", corrected.id)
        after = {case: review for (case, _), review in fold(store.events()).items()}
        assert after["b"].state == "corrected" and after["c"].mask is None and after["c"].state == "rejected"


def test_events_are_refused_that_say_nothing(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "reviews.db") as store:
        mine = store.add("ann", subject("a"), "accept")
        undone = store.add("ann", subject("a"), "undo", mine.id)
        for who, kind, value, truth, said in (
            ("ann", "reject", "ugly", "", "value is 'ugly'"),
            ("ann", "rate", "6", "", "value is '6'"),
            ("ann", "accept", "yes", "", "value is 'yes'"),
            ("ann", "guess", "real", "", "truth is ''"),
            ("ann", "accept", "", "real", "truth is 'real'"),
            ("ann", "praise", "", "", "kind is 'praise'"),
            ("=ann", "accept", "", "", "begins with a letter"),
            ("", "accept", "", "", "reviewer is ''"),
            ("a\nb", "accept", "", "", "reviewer is"),
            ("ann", "undo", "0" * 32, "", "which is not there"),
            ("ben", "undo", mine.id, "", "one of ann"),
            ("ann", "undo", mine.id, "", "undone already"),
            ("ann", "undo", undone.id, "", "an undo itself"),
        ):
            with pytest.raises(SyndiffError, match=re.escape(said)):
                store.add(who, subject("a"), kind, value, truth)
        with pytest.raises(SyndiffError, match=r"is 4 x 5 .* picture is 4 x 6"):
            store.correct("ann", subject("a"), np.ones((4, 5), bool))
        assert len(store.events()) == 2 and not store.masks.exists()


def test_rows_are_never_changed_or_removed(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "reviews.db") as store:
        event = store.add("ann", subject("a"), "accept")
        with pytest.raises(SyndiffError, match="a review is never changed"):
            store.merge([replace(event, kind="reject", value="seam")])
    with sqlite3.connect(tmp_path / "reviews.db") as db:
        for statement in ("UPDATE events SET kind = 'reject'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="only added"):
                db.execute(statement)
    db.close()


def test_processes_and_threads_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "reviews.db"
    writers = [writer(path, who, 30) for who in ("ann", "ben")]  # both find no file, and make it
    said = [each.communicate()[0].split() for each in writers]
    with ReviewStore(path) as store:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: store.add("cy", subject(f"case-{number}"), "accept"), range(20)))
        events = store.events()
    assert len(events) == 80 and {id_ for ids in said for id_ in ids} <= {event.id for event in events}
    for who in ("ann", "ben", "cy"):
        times = [event.time for event in events if event.reviewer == who]
        assert times == sorted(set(times))


def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    """Twenty times."""
    path = tmp_path / "reviews.db"
    acknowledged: set[str] = set()
    script = FORKING.format(tests=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdin is not None and starter.stdout is not None
        for kill in range(20):
            pipe = tmp_path / str(kill)
            os.mkfifo(pipe)
            print(pipe, file=starter.stdin, flush=True)
            process = int(starter.stdout.readline())
            with pipe.open() as said:
                heard = [said.readline() for _ in range(1 + kill)]
                os.kill(process, signal.SIGKILL)
                rest = said.read().split("\n")[:-1]  # a line that the kill cut short was heard by nobody
            acknowledged |= {line.strip() for line in [*heard, *rest]}
        starter.stdin.close()
    with ReviewStore(path, read_only=True) as store:  # as the kill left it
        assert acknowledged <= {event.id for event in store.events()}
    with ReviewStore(path) as store:
        assert acknowledged <= {event.id for event in store.events()}
        store.add("ann", subject("a"), "accept")
    assert len(acknowledged) >= 210


def test_reviews_survive_a_copied_folder_and_tell_a_changed_case(phantom: Path, tmp_path: Path, caplog) -> None:
    dataset = Dataset.open(phantom)
    first, second, third = (case.id for case in dataset.cases[:3])
    with ReviewStore(tmp_path / "reviews.db") as store:
        for case in (first, second, third):
            store.add("ann", Subjects(dataset)[case], "accept")
        events = store.events()
    copy = tmp_path / "elsewhere"
    shutil.copytree(phantom, copy)
    assert reviews_of(Dataset.open(copy), events).keys() == {first, second, third} and not caplog.text
    picture = copy / "images" / f"{first}.png"
    Image.open(picture).save(picture, compress_level=1)  # other bytes, the same picture
    mask = copy / "masks" / f"{second}.png"
    Image.fromarray(np.array(Image.open(mask))[::-1]).save(mask)
    for kind in ("images", "masks"):
        (copy / kind / f"{third}.png").unlink()
    for name in ("groups.csv", "captions.csv"):
        if (copy / name).is_file():
            (copy / name).unlink()
    assert reviews_of(Dataset.open(copy), events).keys() == {first}
    assert "2 reviewed cases" in caplog.text and second in caplog.text and third in caplog.text


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"", None])
def test_another_file_is_refused_and_left_as_it_is(syndiff, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.db"
    if content is None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE theirs (x)")
        db.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    outcome = syndiff("review", "summary", "--reviews", path)
    assert outcome.status == 2 and str(path) in outcome.err and path.read_bytes() == before
    if content != b"":  # an empty file may become one of reviews
        with pytest.raises(SyndiffError, match="no file of reviews"):
            ReviewStore(path)
        assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_missing_file_and_a_folder_are_told(syndiff, tmp_path: Path) -> None:
    missing = syndiff("review", "summary", "--reviews", tmp_path / "none.db")
    assert missing.status == 2 and "does not exist" in missing.err and not list(tmp_path.iterdir())
    assert syndiff("review", "summary", "--reviews", tmp_path).status == 2


def test_a_changed_mask_is_told(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "reviews.db") as store:
        event = store.correct("ann", subject("a"), np.ones((4, 6), bool))
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(store.masks / f"{event.value}.png")
        with pytest.raises(SyndiffError, match="was changed"):
            store.mask(event.value)
        (store.masks / f"{event.value}.png").unlink()
        with pytest.raises(SyndiffError, match="is missing"):
            store.mask(event.value)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["accept", "reject", "rate", "undo"])), max_size=8))
def test_an_undone_event_is_as_if_it_had_never_been(tmp_path_factory, acts) -> None:
    """Whatever is done, undoing all of it leaves nothing."""
    values = {"reject": "seam", "rate": "3"}
    assert set(values) < set(KINDS)
    with ReviewStore(tmp_path_factory.mktemp("s") / "reviews.db") as store:
        store.add("z", subject("kept"), "accept")
        done: list[tuple[str, str]] = []
        for who, kind in acts:
            mine = [id_ for reviewer, id_ in done if reviewer == who]
            if kind != "undo":
                done.append((who, store.add(who, subject("x"), kind, values.get(kind, "")).id))
            elif mine:
                store.add(who, subject("x"), "undo", mine[-1])
                done.remove((who, mine[-1]))
        for who, id_ in done:
            store.add(who, subject("x"), "undo", id_)
        assert [case for case, _ in fold(store.events())] == ["kept"]


def test_a_full_disk_is_told_and_what_was_kept_stays(tmp_path: Path) -> None:
    path = tmp_path / "reviews.db"
    with ReviewStore(path) as store:
        store._db.execute("PRAGMA max_page_count = 8")  # what SQLite says of a full disk
        kept = []
        with pytest.raises(OSError, match="No space left") as full:
            for number in range(1000):
                kept.append(store.add("ann", subject(f"case-{number}"), "accept"))
        assert full.value.filename == str(path) and 1 < len(kept) < 1000
        assert store.events() == kept
    with ReviewStore(path) as store:  # there is space again
        store.add("ann", subject("more"), "accept")
        assert len(store.events()) == len(kept) + 1


def test_a_file_that_nobody_may_write_to_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with ReviewStore(folder / "reviews.db") as store:
        store.add("ann", subject("a"), "accept")
    (folder / "reviews.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        with ReviewStore(folder / "reviews.db", read_only=True) as store:
            assert len(store.events()) == 1
    finally:
        folder.chmod(0o755)


def _moved(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def _replaced(path: Path) -> None:
    path.with_name("other.db").write_bytes(path.read_bytes())
    path.with_name("other.db").replace(path)


@pytest.mark.parametrize(
    "away",
    [
        _moved,
        Path.unlink,
        _replaced,
        lambda path: path.write_bytes(b"garbage" * 5000),
        lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
    ],
    ids=["moved", "deleted", "replaced", "written over", "its folder renamed"],
)
def test_nothing_is_added_to_a_file_that_is_not_in_its_place(tmp_path: Path, away: Callable[[Path], object]) -> None:
    path = tmp_path / "x" / "reviews.db"
    with ReviewStore(path) as store:
        store.add("ann", subject("a"), "accept")
        away(path)
        with pytest.raises(Unavailable, match="nothing was saved"):
            store.add("ann", subject("b"), "accept")
        with pytest.raises(Unavailable, match="nothing was saved"):
            store.correct("ann", subject("b"), np.ones((4, 6), bool))
        assert not store.masks.exists()


def test_a_file_that_is_put_back_is_added_to_again(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "reviews.db") as store:
        identity = store.identity
        _moved(store.path)
        with pytest.raises(Unavailable):
            store.add("ann", subject("a"), "accept", id="1" * 32)
        (tmp_path / "moved.db").rename(store.path)
        store.add("ann", subject("a"), "accept", id="1" * 32)
        assert len(store.events()) == 1 and store.identity == identity
        with ReviewStore(tmp_path / "other.db") as other:
            assert other.identity != identity
    with ReviewStore(tmp_path / "reviews.db") as store:
        assert store.identity == identity


@pytest.mark.parametrize("part", ["index", "row"])
def test_a_damaged_file_is_refused_when_it_is_opened(syndiff, tmp_path: Path, part: str) -> None:
    path = tmp_path / "reviews.db"
    with ReviewStore(path) as store:
        kept = [store.add("ann", subject(f"case-{number}"), "accept") for number in range(100)]
    content = path.read_bytes()
    lost = kept[50].id.encode()
    at = content.rindex(lost) if part == "index" else content.index(lost)
    path.write_bytes(content[:at] + b"\0" * 300 + content[at + 300 :])
    with pytest.raises(SyndiffError, match="is damaged"):
        ReviewStore(path)
    outcome = syndiff("review", "summary", "--reviews", path)
    assert outcome.status == 2 and "is damaged" in outcome.err


def test_a_name_that_looks_like_another_is_no_second_reviewer(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "reviews.db") as store:
        store.add("Ann Müller", subject("a"), "accept")
        for name in ("ann müller", "Ann  Müller", "Ann\u00a0Müller", "Ａnn Müller", "Ann Mu\u0308ller"):
            with pytest.raises(SyndiffError, match="'Ann Müller' has reviewed here"):
                store.add(name, subject("a"), "reject", "seam")
        for hidden in "\u200b\u2060\u202e\ufeff\u00ad":
            with pytest.raises(SyndiffError, match=rf"not seen \(U\+{ord(hidden):04X}\)"):
                store.add(f"Ann{hidden} Müller", subject("a"), "accept")
        store.add("Ann Müller", subject("b"), "accept")
        store.add("Ann Muller", subject("b"), "accept")
        assert len(store.events()) == 3
