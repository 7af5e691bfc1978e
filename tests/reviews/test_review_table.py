"""Reviews leave and come back as CSV without a loss; a damaged table is refused with its line."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reviewing import subject

from syndiff.reviews.store import ReviewStore
from syndiff.reviews.table import export_reviews, import_reviews


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.db"
    with ReviewStore(path) as store:
        store.add("Ann, MD", subject('case "1", left'), "accept")
        store.correct("Ben", subject("case-2"), np.eye(4, 6, dtype=bool))
        wrong = store.add("Ben", subject("case-3"), "reject", "colour")
        store.add("Ben", subject("case-3"), "undo", wrong.id)
        store.add("Ben", subject("case-3"), "guess", "real", "synthetic")
        store.add("Ben", subject("case-4"), "rate", "5")
    return path


def test_the_round_trip_is_exact_and_a_second_import_adds_nothing(syndiff, reviews: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "out" / "table.csv", tmp_path / "again.csv"
    assert syndiff("review", "export", "--reviews", reviews, "--out", out).status == 0
    moved = Path(shutil.move(out.parent, tmp_path / "moved")) / "table.csv"
    other = tmp_path / "other.db"
    first = syndiff("review", "import", moved, "--reviews", other)
    assert first.status == 0 and "6 of 6 events added" in first.out
    assert "0 of 6 events added" in syndiff("review", "import", moved, "--reviews", other).out
    assert syndiff("review", "export", "--reviews", other, "--out", again).status == 0
    assert again.read_bytes() == moved.read_bytes()
    with ReviewStore(reviews) as mine, ReviewStore(other) as theirs:
        assert mine.events() == theirs.events()
        mask = next(event.value for event in theirs.events() if event.kind == "correct")
        assert (theirs.mask(mask) == np.eye(4, 6, dtype=bool)).all()
    assert syndiff("review", "export", "--reviews", other, "--out", again).status == 0  # its own table is replaced


def _line(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        lines = text.split("\n")
        lines[number - 1] = change(lines[number - 1])
        return "\n".join(lines)

    return changed


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace(",", ";"), "starts with"),
        (lambda text: "", "starts with"),
        (_line(3, lambda line: line[:-9]), "line 3"),
        (_line(3, lambda line: line + ",more"), "line 3 holds 11 fields"),
        (_line(4, lambda line: line.replace("colour", "ugly")), "line 4: value is 'ugly'"),
        (_line(2, lambda line: line.replace("T", " ", 1)), "line 2: time is"),
        (_line(2, lambda line: line.replace("2", "9", 1).replace("-", "x", 1)), "line 2"),
        (_line(7, lambda line: '"' + line), "line 7"),
        (lambda text: text + text.split("\n")[1] + "\n", "line 8: the event"),
        (lambda text: text.replace("\n" + text.split("\n")[3], ""), "line 4: undoes the event"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(syndiff, reviews: Path, tmp_path: Path, damage, said: str) -> None:
    table, other = tmp_path / "table.csv", tmp_path / "other.db"
    assert syndiff("review", "export", "--reviews", reviews, "--out", table).status == 0
    table.write_text(damage(table.read_text()))
    outcome = syndiff("review", "import", table, "--reviews", other)
    assert outcome.status == 2 and said in outcome.err, outcome.err
    if other.exists():
        with ReviewStore(other) as store:
            assert not store.events()


def test_a_changed_event_and_a_lost_mask_are_refused(syndiff, reviews: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    assert syndiff("review", "export", "--reviews", reviews, "--out", table).status == 0
    text = table.read_text()
    table.write_text(text.replace(",rate,5,", ",rate,1,"))
    changed = syndiff("review", "import", table, "--reviews", reviews)
    assert changed.status == 2 and "a review is never changed" in changed.err
    table.write_text(text)
    shutil.rmtree(tmp_path / "table.masks")
    lost = syndiff("review", "import", table, "--reviews", tmp_path / "new.db")
    assert lost.status == 2 and "line 3" in lost.err and "is missing" in lost.err


def test_a_file_of_another_origin_is_not_written_over(syndiff, reviews: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine.csv"
    other.write_text("case,group\n1,2\n")
    outcome = syndiff("review", "export", "--reviews", reviews, "--out", other)
    assert outcome.status == 2 and other.read_text() == "case,group\n1,2\n"
    assert not (tmp_path / "mine.masks").exists()


def test_the_summary_counts_and_compares(syndiff, tmp_path: Path) -> None:
    path = tmp_path / "reviews.db"
    with ReviewStore(path) as store:
        for number in range(12):
            case = subject(f"case-{number}")
            store.add("ann", case, *(("reject", "seam") if number < 4 else ("accept",)))
            store.add("ben", case, *(("reject", "colour") if number < 6 else ("accept",)))
            store.add("ben", case, "guess", "real", "real" if number < 9 else "synthetic")
    said = syndiff("review", "summary", "--reviews", path).out
    assert "polyps: 12 cases, 6 accepted, 0 corrected, 6 rejected, 0 open" in said
    assert "rejected as colour (6), seam (4)" in said
    assert "Cohen's kappa of ann, ben: 0.67" in said  # p_o 10/12, p_e 1/2
    assert "blind test of ben: 9 of 12 right, 75% (43% to 95%)" in said


@settings(max_examples=8, deadline=None)
@given(st.lists(st.text(st.sampled_from("'=+-@ a,\""), min_size=1, max_size=4).filter(str.strip), min_size=9))
@example(["=cmd()", "'=cmd()", "''=cmd()", "'a", "''", "-1", "@x"])
def test_no_name_in_a_table_is_a_formula_and_each_comes_back_as_it_was(tmp_path_factory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("t")
    with ReviewStore(folder / "reviews.db") as store, ReviewStore(folder / "other.db") as other:
        kept = [store.add("ann", subject(name), "accept") for name in names]
        export_reviews(store, folder / "table.csv")
        for row in csv.reader((folder / "table.csv").read_text(encoding="utf-8").splitlines()):
            assert not any(field.startswith(("=", "+", "-", "@")) for field in row)
        assert import_reviews(other, folder / "table.csv") == (len(kept), len(kept)) and other.events() == kept
