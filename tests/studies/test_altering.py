"""Altered frames: what was asked for is altered, everything else stays to the bit, and controls share the trace."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndiff.data.attributes import measure_lesion
from syndiff.data.dataset import Case
from syndiff.data.readers import to_unit
from syndiff.data.seen import Seen
from syndiff.errors import SyndiffError
from syndiff.studies.altering import (
    MOVED,
    ORIGINAL,
    PATCH,
    PUT_BACK,
    REMOVED,
    Change,
    Instrument,
    Paler,
    Shrunk,
    control_of,
)
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.placement.album import LoadedCase
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.settings import SynthesisSettings

CHANGES: tuple[Change, ...] = (
    *(ORIGINAL, PUT_BACK, PATCH, MOVED, REMOVED, Shrunk(0.7), Shrunk(0.5)),
    *(Paler(0.75), Paler(0.5), Paler(0.25)),
)


class Writer:
    """Paints what it is told to, and keeps what it was asked."""

    name, seen, capabilities = "writer", Seen(), Capabilities(margin=0.2, paints_from_text=True, reads_captions=True)

    def __init__(self, value: float = 0.5) -> None:
        self.value, self.asked = value, []

    def inpaint(self, requests):
        self.asked += requests
        return [np.full(request.image.shape, self.value, np.float32) for request in requests]


def tool(inpainter=None) -> Instrument:
    return Instrument(inpainter or CopyPaste(), Grammar.load("polyp"), SynthesisSettings())


def loaded(image: np.ndarray, mask: np.ndarray) -> LoadedCase:
    return LoadedCase(Case("a", Path("a.png"), Path("a.png")), image, mask)


def blob(row: float, column: float, radius: float, shape=(96, 112)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) <= radius


@pytest.fixture(scope="module")
def plain() -> LoadedCase:
    """A lesion on a wall with grain."""
    mask = blob(40, 40, 9)
    image = np.random.default_rng(0).normal((150, 90, 80), 4, (*mask.shape, 3))
    image[mask] *= 1.35
    return loaded(image.clip(0, 255).astype(np.uint8), mask)


@pytest.fixture(scope="module")
def altered(plain: LoadedCase):
    return tool().alter(plain, CHANGES, seed=3)


def test_every_change_is_what_it_says(plain: LoadedCase, altered) -> None:
    assert altered.keys() == {*CHANGES}
    own = plain.own
    for change, found in altered.items():
        assert np.array_equal(found.image[~found.changed], plain.image[~found.changed]), change
        if change not in (ORIGINAL, PATCH):
            assert not (found.label & ~found.changed).any(), change
    assert not altered[ORIGINAL].changed.any() and not altered[REMOVED].label.any()
    assert all(np.array_equal(altered[x].label, own) for x in (PUT_BACK, PATCH, Paler(0.5)))
    moved, patch = altered[MOVED], altered[PATCH]
    assert moved.label.sum() == own.sum() and not (moved.label & own).any()
    assert not (moved.label & ~patch.changed).any() and not (patch.changed & own).any(), "the patch is its place"
    rows, columns = (np.argwhere(moved.label).min(axis=0) - np.argwhere(own).min(axis=0)).tolist()
    assert np.array_equal(np.roll(own, (rows, columns), (0, 1)), moved.label)
    assert altered[Shrunk(0.5)].label.sum() == pytest.approx(0.25 * own.sum(), rel=0.1)


def test_lesions_get_paler_step_by_step_and_keep_their_grain(plain: LoadedCase, altered) -> None:
    steps = [PUT_BACK, Paler(0.75), Paler(0.5), Paler(0.25)]
    found = [measure_lesion(altered[change].image, plain.own, plain.own).lightness for change in steps]
    whole = measure_lesion(plain.image, plain.own, plain.own).lightness
    assert found[0] == pytest.approx(whole, abs=0.03), "put back, it is as it was"
    assert found == sorted(found, reverse=True) and found[3] == pytest.approx(0.25 * whole, abs=0.08)
    removed = measure_lesion(altered[REMOVED].image, plain.own, plain.own).lightness
    assert removed == pytest.approx(0, abs=0.05)
    core = blob(40, 40, 5)
    for change in (*steps, REMOVED):
        assert altered[change].image[core].std(axis=0).mean() > 2, "smooth would mean altered"


def test_a_moved_lesion_brings_its_own_pixels(plain: LoadedCase, altered) -> None:
    there, here = altered[MOVED].image[altered[MOVED].label], plain.image[plain.own]
    assert np.abs(there.astype(float) - here).mean() < 6 < here.std()


def test_controls_share_the_trace() -> None:
    assert {str(change): control_of(change) for change in CHANGES[1:8]} == {
        **dict.fromkeys((PUT_BACK, PATCH), ORIGINAL),
        **dict.fromkeys((MOVED, REMOVED), PATCH),
        **dict.fromkeys(("shrunk to 0.7", "shrunk to 0.5", "paler to 0.75"), PUT_BACK),
    }


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 63),
    st.integers(0, 79),
    st.integers(1, 22),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(0, 2**40),
)
def test_nothing_else_changes_wherever_a_lesion_lies(row, column, radius, dtype, seed) -> None:
    mask = blob(row, column, radius, (64, 80))
    image = np.random.default_rng(seed).integers(20, 200, (64, 80, 3)).astype(dtype)
    found = tool().alter(loaded(image, mask), CHANGES, seed=seed)
    assert {ORIGINAL, PUT_BACK, Paler(0.5)} <= found.keys()
    for one in found.values():
        assert one.image.dtype == dtype and np.array_equal(one.image[~one.changed], image[~one.changed])
    again = tool().alter(loaded(image, mask), (PUT_BACK,), seed=seed)
    assert np.array_equal(again[PUT_BACK].image, found[PUT_BACK].image), "the seed alone decides"


def test_lesions_that_cannot_be_moved_are_not() -> None:
    image = np.random.default_rng(0).integers(100, 140, (96, 112, 3)).astype(np.uint8)
    at_edge = tool().alter(loaded(image, blob(3, 50, 9)), CHANGES, seed=0)
    assert not {MOVED, Shrunk(0.5)} & at_edge.keys() and PATCH in at_edge
    two = tool().alter(loaded(image, blob(40, 40, 9) | blob(60, 90, 6)), CHANGES, seed=0)
    assert not {MOVED, Shrunk(0.5)} & two.keys() and not two[REMOVED].label.any()
    image[:, :50] //= 5  # half of what surrounds it lies in the dark
    assert not {REMOVED} & tool().alter(loaded(image, blob(40, 50, 9)), CHANGES, seed=0).keys()
    assert REMOVED in tool(Writer()).alter(loaded(image, blob(40, 50, 9)), (REMOVED,), seed=0)
    large = tool().alter(loaded(image, blob(48, 56, 40)), CHANGES, seed=0)
    assert not {MOVED, PATCH} & large.keys()


def test_an_inpainter_is_told_what_it_paints(plain: LoadedCase) -> None:
    writer = Writer()
    tool(writer).alter(plain, (REMOVED, MOVED, Shrunk(0.5)), seed=0)
    removal, moved, shrunk = writer.asked
    grammar = Grammar.load("polyp")
    assert removal.prompt == grammar.background.text and not removal.lesion.any()
    own = grammar.caption(plain.image, plain.own, plain.own).words
    for asked in (moved, shrunk):
        words = grammar.caption(plain.image, plain.own, plain.own, asked.lesion)
        assert asked.prompt == words.text and asked.lesion.any()
        assert all(words.words[name] == own[name] for name in ("colour", "tone", "sharpness"))
    assert "upper left" in grammar.caption(plain.image, plain.own, plain.own).text
    assert "upper left" not in moved.prompt
    assert np.array_equal(to_unit(plain.image)[plain.own].shape, moved.donor()[moved.lesion].shape)


def test_values_that_are_not_finite_stop_the_study(plain: LoadedCase) -> None:
    with pytest.raises(SyndiffError, match="a: writer painted values that are not finite; expected colours"):
        tool(Writer(np.nan)).alter(plain, (REMOVED,), seed=0)
