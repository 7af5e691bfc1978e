"""Run lengths are read and written as COCO's own library does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from syndiff.data.importing.runs import compress, decode, decompress, down_columns, encode
from syndiff.errors import SyndiffError

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def test_what_cocos_library_writes() -> None:
    """Strings that pycocotools 2.0.11 gives for these masks."""
    small = np.zeros((4, 5), bool)
    small[1:3, 1:4] = small[0, 4] = True
    assert down_columns(small) == {"size": [4, 5], "counts": "522000OO2"}
    assert encode(small.T) == decompress("522000OO2", "x") == [5, 2, 2, 2, 2, 2, 1, 1, 3]
    large = np.zeros((700, 900), bool)
    large[100:600, 200:800] = True
    assert down_columns(large)["counts"].startswith("TjX4d?X6000")


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_masks_come_back(mask: np.ndarray) -> None:
    stored = down_columns(mask)
    counts = decompress(stored["counts"], "x")
    assert compress(counts) == stored["counts"]
    height, width = stored["size"]
    assert np.array_equal(decode(counts, mask.size, "x").reshape(width, height).T, mask)


@given(st.lists(st.integers(0, 10**8), max_size=9))
@settings(max_examples=60, deadline=None)
def test_any_lengths_come_back(counts: list[int]) -> None:
    assert decompress(compress(counts), "x") == counts


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        decode(decompress(text, "x"), 100, "x")
    except SyndiffError as error:
        assert str(error).startswith("x: ")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([1, 2], "cover 3 pixels, expected 12"),
        ([1, -2, 13], "no whole numbers from 0 to 12"),
        ([1.5, 10.5], "no whole numbers"),
        ([10**30], "no whole numbers"),
        ("12", "no whole numbers"),
        ([True] * 12, "no whole numbers"),
    ],
)
def test_lengths_that_fill_no_picture(counts: object, words: str) -> None:
    with pytest.raises(SyndiffError, match=words):
        decode(counts, 12, "x")
