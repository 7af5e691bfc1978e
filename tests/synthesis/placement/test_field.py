"""Where a lesion may lie, on drawn frames whose answer is known."""

import numpy as np
import pytest

from syndiff.synthesis.placement.field import field_of_view, judge_view, to_pixels

SHAPE = (240, 320)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]


def disc(row: int, column: int, radius: int) -> np.ndarray:
    return np.hypot(ROWS - row, COLUMNS - column) < radius


def colonoscopy() -> np.ndarray:
    """A reddish frame with a dark border, a lumen at (100, 200) and a highlight at (60, 80)."""
    frame = np.full((*SHAPE, 3), (160, 90, 70), np.uint8)
    frame[disc(100, 200, 30)] = (28, 14, 10)
    frame[disc(60, 80, 6)] = 250
    frame[:, :20] = frame[:, -20:] = 4
    return frame


def wall(frame: np.ndarray) -> np.ndarray:
    seen = judge_view(frame)
    return to_pixels(seen.wall, seen.step, frame.shape[:2])


def test_the_wall_leaves_out_lumen_and_highlights() -> None:
    frame = colonoscopy()
    found, field = wall(frame), field_of_view(frame)
    assert field[disc(100, 200, 30)].all() and field[disc(60, 80, 6)].all()  # in view, but
    assert not found[disc(100, 200, 25)].any() and not found[disc(60, 80, 6)].any()
    assert found[disc(180, 100, 40)].all()
    assert not field[:, :18].any() and not field[:, -18:].any()
    assert found.mean() > 0.7
    deep = frame.astype(np.uint16) * 16
    assert np.array_equal(wall(deep), found)  # 12 bits in 16


@pytest.mark.parametrize("where", ["corner", "inside"])
def test_a_position_box_is_no_wall(where: str) -> None:
    frame = colonoscopy()
    box = np.zeros(SHAPE, bool)
    if where == "corner":
        box[170:, 20:110] = True
    else:
        box[150:220, 40:130] = True
    frame[box] = 3
    drawing = box & (disc(195, 75, 20) & ~disc(195, 75, 12))
    frame[drawing] = (20, 220, 60)
    assert not wall(frame)[box].any()
    assert wall(frame)[disc(180, 220, 30)].all()


@pytest.mark.parametrize("depth", [8, 16])
def test_a_frame_that_is_dark_by_nature_is_wall_as_a_whole(depth: int) -> None:
    rng = np.random.default_rng(0)
    frame = rng.poisson(6, SHAPE).astype(float)  # fluorescence: dark, noisy, uneven, with few bright nuclei
    frame *= 1 - 0.7 * COLUMNS / SHAPE[1]
    for row, column in rng.uniform(20, 220, (12, 2)):
        frame[disc(int(row), int(column), 9)] += 120
    frame = np.clip(frame, 0, 255)[..., None].repeat(3, axis=2).astype(np.uint8)
    picture = frame if depth == 8 else frame.astype(np.uint16) * 16
    assert field_of_view(picture).all() and wall(picture).all()


def test_a_bright_subject_is_no_highlight() -> None:
    frame = np.full((*SHAPE, 3), (235, 225, 230), np.uint8)  # stained tissue on a white ground
    for row, column in ((60, 60), (150, 200), (200, 90)):
        frame[disc(row, column, 25)] = (150, 90, 160)
    assert wall(frame)[disc(120, 120, 30)].all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (17, 23), (1000, 1300)])
def test_any_size_and_an_empty_frame(shape: tuple[int, int]) -> None:
    for value in (0, 99, 255):
        assert field_of_view(np.full((*shape, 3), value, np.uint8)).shape == shape
        assert field_of_view(np.full((*shape, 3), value, np.uint8)).all()
