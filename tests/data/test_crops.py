"""Crops hold the whole mask, lie in the frame, and go back exactly where they were cut out."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from syndiff.data.boxes import Box, crop_box
from syndiff.data.crops import cut, paste


@given(st.data())
def test_a_box_holds_the_mask_and_lies_in_the_frame(data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top, height - 1)), data.draw(st.integers(left, width - 1))
    context, smallest = data.draw(st.floats(1, 8)), data.draw(st.integers(1, 100))
    mask = np.zeros((height, width), bool)
    mask[top : bottom + 1, left : right + 1] = True
    box = crop_box(mask, context, smallest)
    assert box.top >= 0 and box.left >= 0 and box.top + box.height <= height and box.left + box.width <= width
    assert mask[box.slices].sum() == mask.sum()
    extent = max(bottom - top, right - left) + 1
    wanted = min(max(np.ceil(context * extent), smallest), height, width)
    assert min(box.height, box.width) >= wanted
    assert box.height == box.width or extent > min(height, width)


def test_without_context_or_mask_it_is_the_whole_frame() -> None:
    mask = np.eye(20, 30, dtype=bool)
    assert crop_box(mask, 0, 8) == crop_box(np.zeros((20, 30), bool), 3, 8) == Box(0, 0, 20, 30)


@given(st.integers(0, 20), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20))
def test_paste_fills_the_box_and_nothing_else(top: int, left: int, height: int, width: int) -> None:
    box = Box(top, left, height, width)
    frame = np.random.default_rng(0).random((41, 51, 3), np.float32)
    pasted = paste(frame, torch.full((3, 16, 16), 2.0), box)
    inside = np.zeros((41, 51), bool)
    inside[box.slices] = True
    assert (pasted[inside] == 1).all() and np.array_equal(pasted[~inside], frame[~inside])


def test_cut_and_paste_at_the_same_size_give_the_frame_back() -> None:
    frame = np.random.default_rng(0).random((40, 50, 3), np.float32)
    box = Box(3, 7, 24, 24)
    assert np.array_equal(paste(frame, cut(frame, box, 24), box), frame)


def test_an_enlarged_crop_comes_back_where_it_was() -> None:
    rows, columns = np.mgrid[:40, :50] / 50
    frame = np.stack([rows, columns, rows * columns], axis=2).astype(np.float32)
    box = Box(3, 7, 24, 30)
    assert np.abs(paste(frame, cut(frame, box, 64), box) - frame).max() < 0.01
