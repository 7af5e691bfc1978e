"""Outlines lie where the masks are; charts are safe to put into a page."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Ring
from PIL import Image

from syndiff.report import charts, figures
from syndiff.report.content import Content


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def test_an_outline_runs_along_the_border_of_the_mask() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:10, 8:20] = True
    xs, ys = zip(*points(figures.contour_path(mask)), strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == (8, 20, 5, 10)


def test_each_region_has_its_closed_outline() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[2:6, 2:6] = mask[10:16, 20:30] = True
    path = figures.contour_path(mask)
    assert path.count("M") == path.count("Z") == 2


def test_nothing_annotated_has_no_outline() -> None:
    assert figures.contour_path(np.zeros((8, 8), dtype=bool)) == ""


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_an_outline_never_leaves_the_picture(mask: np.ndarray) -> None:
    height, width = mask.shape
    path = figures.contour_path(mask)
    assert bool(path) == bool(mask.any())
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points(path))


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_short_outline_holds_the_pixels_of_the_mask_and_no_other(mask: np.ndarray) -> None:
    rows, columns = np.indices(mask.shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1)
    inside = np.zeros(mask.size, dtype=bool)
    for ring in filter(None, figures.short_contour_path(mask, 12).split("z")):
        steps = np.array([int(number) for number in re.findall(r"-?\d+", ring)]).reshape(-1, 2)
        inside ^= Ring(steps.cumsum(0) / 2).contains_points(centres)
    assert (inside.reshape(mask.shape) == mask).all()


@pytest.mark.parametrize(
    ("shape", "shown"), [((100, 200), (200, 100)), ((960, 600), (300, 480)), ((1, 2000), (480, 1))]
)
def test_a_picture_keeps_its_aspect_and_stays_small(shape: tuple[int, int], shown: tuple[int, int]) -> None:
    uri, width, height = figures.picture(np.full((*shape, 3), 90, dtype=np.uint8))
    assert (width, height) == shown
    kind, encoded = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == shown


def test_a_large_mask_is_outlined_in_the_pixels_of_its_picture() -> None:
    mask = np.zeros((960, 1920), dtype=bool)
    mask[:, 960:] = True
    xs, ys = zip(*points(figures.contour_path(mask)), strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == (240, 480, 0, 240)


def test_a_16_bit_picture_is_not_black() -> None:
    uri, _, _ = figures.picture(np.full((8, 8, 3), 4095, dtype=np.uint16))
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).min() > 240


def test_charts_are_safe_to_inline_and_always_the_same(content: Content, drawn: dict[str, str]) -> None:
    assert drawn == charts.draw(content)
    assert set(drawn) == {"strip", "loss", "validation", "timing", "likeness", "difference"}
    for name, svg in drawn.items():
        assert svg.startswith("<svg")
        assert "//" not in svg, "no address of any kind"
        assert "<style" not in svg
        assert set(re.findall(r'id="([a-z]+)-', svg)) == {name}
        assert set(re.findall(r'(?:#)([\w-]+)(?=["\)])', svg)) <= set(re.findall(r'id="([^"]+)"', svg))
        assert not re.search(r"#01..fe", svg), "a stand-in colour was left"
    assert "real + synthetic" in drawn["strip"]
    assert "denoise" in drawn["timing"]


def test_many_groups_become_dots(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "case-group" in figures.strip_plot(content.arms)
    monkeypatch.setattr(figures, "MANY_GROUPS", 0)
    assert "case-group" not in figures.strip_plot(content.arms)
