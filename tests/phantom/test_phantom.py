"""The phantom is a sound, repeatable dataset whose polyps are exact and not given away by a colour."""

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_fill_holes, label

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.phantom import Frame, render_sequence, sequence, write_phantom


@pytest.fixture(scope="module")
def sample() -> list[Frame]:
    """Two frames of each of fifteen sequences, half size."""
    return [frame for group in range(15) for frame in render_sequence(0, group, 2, 144, 176)]


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_a_phantom_is_a_complete_dataset_folder(tmp_path: Path) -> None:
    write_phantom(tmp_path / "phantom", groups=2, frames=2, height=96, width=128)
    dataset = Dataset.open(tmp_path / "phantom")
    assert dataset.name == "SynDiff phantom"
    assert dataset.licence == "CC0"
    assert dataset.classes == {1: "polyp"}
    assert [case.group for case in dataset.cases] == ["sequence-001"] * 2 + ["sequence-002"] * 2
    for case in dataset.cases:
        image, mask = dataset.load(case)
        assert image.shape == (96, 128, 3)
        assert image.dtype == np.uint8
        assert mask.any()
        assert set(np.unique(np.asarray(Image.open(case.mask)))) == {0, 255}
        assert case.caption is not None
        assert "polyp" in case.caption


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        write_phantom(tmp_path / name, groups=1, frames=2, height=64, width=80, seed=seed)
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    image = "images/sequence-001-frame-001.png"
    assert contents(tmp_path / "first")[image] != contents(tmp_path / "other")[image]


def test_a_larger_phantom_begins_with_the_smaller_one(tmp_path: Path) -> None:
    write_phantom(tmp_path / "small", groups=1, frames=2, height=64, width=80)
    write_phantom(tmp_path / "large", groups=2, frames=3, height=64, width=80)
    large = contents(tmp_path / "large")
    for name, content in contents(tmp_path / "small").items():
        if name.endswith(".png"):
            assert large[name] == content


SMALL = {"groups": 2, "frames": 3, "height": 64, "width": 80}


def render(root: Path) -> None:
    write_phantom(root, **SMALL)


def test_a_killed_phantom_is_completed_to_the_same_bytes(forked: ModuleType, tmp_path: Path) -> None:
    forked.kill_at((tmp_path / "cut" / "masks").exists, render, tmp_path / "cut")
    assert not (tmp_path / "cut" / "dataset.json").exists()
    for name in ("cut", "whole"):
        write_phantom(tmp_path / name, **SMALL)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_phantom_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SyndiffError, match=r"holds other files \(such as thesis.txt\)"):
        write_phantom(tmp_path, groups=1, frames=1)
    with pytest.raises(SyndiffError, match="no folder"):
        write_phantom(tmp_path / "thesis.txt", groups=1, frames=1)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"groups": 0}, "groups must be at least 1"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"height": 32}, "at least 64"),
        ({"width": 1000}, "more than twice"),
    ],
)
def test_impossible_phantoms_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, int], words: str
) -> None:
    with pytest.raises(SyndiffError, match=words):
        write_phantom(tmp_path / "phantom", **wrong)
    assert not (tmp_path / "phantom").exists()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 500), st.integers(64, 128), st.integers(64, 128))
def test_any_frame_shows_a_polyp_inside_the_window(seed: int, group: int, height: int, width: int) -> None:
    (frame,) = render_sequence(seed, group, 1, height, width)
    assert frame.image.shape == (height, width, 3)
    assert frame.mask.shape == (height, width)
    assert frame.mask.dtype == np.bool_
    assert 0.003 < frame.mask.mean() < 0.3
    assert frame.image.max(axis=2)[frame.mask].mean() > 40  # the frame outside the window is near 8
    corners = frame.mask[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()


def test_polyps_cover_a_hundredth_to_a_fifth_of_nearly_every_frame(sample: list[Frame]) -> None:
    areas = np.array([frame.mask.mean() for frame in sample])
    assert np.mean((areas > 0.01) & (areas < 0.2)) >= 0.95
    assert areas.max() > 3 * areas.min()


def test_masks_have_no_cracks_or_specks(sample: list[Frame]) -> None:
    for frame in sample:
        assert (binary_fill_holes(frame.mask) ^ frame.mask).sum() < 0.02 * frame.mask.sum()
        pieces, count = label(frame.mask)
        small = np.bincount(pieces.ravel())[1:] < 5
        assert count - small.sum() <= 3
        assert small.sum() <= 1


def test_the_mask_is_where_the_polyp_changes_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    place = sequence.place_lesions
    vivid = np.array([0.5, 1.0, 0.6], np.float32)
    for group in range(4):
        pictures = []
        for tint in (np.ones(3, np.float32), vivid):
            monkeypatch.setattr(
                sequence, "place_lesions", lambda *a, tint=tint: tuple(replace(one, tint=tint) for one in place(*a))
            )
            pictures.append(render_sequence(1, group, 1, 144, 176)[0])
        changed = (np.abs(pictures[0].image.astype(int) - pictures[1].image).max(axis=2) > 25) & (
            pictures[0].image.max(axis=2) > 60
        )
        mask = pictures[0].mask
        assert (changed & mask).sum() > 0.7 * mask.sum()
        foot = binary_dilation(mask, iterations=round(0.1 * np.sqrt(mask.sum())))  # where it melts into the wall
        assert (changed & ~foot).sum() < 0.02 * mask.sum()


def test_frames_of_a_sequence_are_alike_but_not_the_same() -> None:
    sequences = [render_sequence(5, group, 3, 96, 120) for group in range(4)]
    colours = np.array([[frame.image[frame.image.max(axis=2) > 40].mean(axis=0) for frame in one] for one in sequences])
    for frames in sequences:
        assert not np.array_equal(frames[0].image, frames[1].image)
        assert (frames[0].mask & frames[1].mask).any()
    within = colours.std(axis=1).mean()
    between = colours.mean(axis=1).std(axis=0).mean()
    assert within < between


def test_captions_name_the_polyp_and_its_place(sample: list[Frame]) -> None:
    for frame in sample:
        count = len(re.findall(r"\b(?:sessile|flat|pedunculated|lobulated) polyp\b", frame.caption))
        assert 1 <= count <= 2
        if count == 1:
            rows, columns = np.nonzero(frame.mask)
            down, across = rows.mean() / frame.mask.shape[0], columns.mean() / frame.mask.shape[1]
            assert ("upper" in frame.caption) == (down < 0.4)
            assert ("lower" in frame.caption) == (down > 0.6)
            assert ("left" in frame.caption) == (across < 0.42)
            assert ("right" in frame.caption) == (across > 0.58)


def channels(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """The channels in which a polyp might stand out by its value alone."""
    unit = image / 255
    red, green, blue = np.moveaxis(unit, 2, 0)
    high, spread = unit.max(axis=2), np.ptp(unit, axis=2) + 1e-6
    sector = np.where(high == red, (green - blue) / spread, np.where(high == green, (blue - red) / spread + 2, 4))
    hue = np.where((high == blue) & (high > red) & (high > green), (red - green) / spread + 4, sector)
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0178, 0.1095, 0.8727]])  # white is 1
    x, y, z = np.moveaxis(np.cbrt(linear @ to_xyz.T), 2, 0)
    return {
        "red": red,
        "green": green,
        "blue": blue,
        "grey": unit.mean(axis=2),
        "saturation": spread / (high + 1e-6),
        "hue": (hue + 3) % 6,
        "red over green": (red + 0.02) / (green + 0.02),
        "red over blue": (red + 0.02) / (blue + 0.02),
        "L": y,
        "a": x - y,
        "b": y - z,
    }


def best_threshold_dice(values: list[NDArray[np.float64]], masks: list[NDArray[np.bool_]]) -> float:
    """The highest mean Dice that one threshold for all frames reaches, whichever side is called polyp."""
    edges = np.unique(np.quantile(np.concatenate([value.ravel() for value in values]), np.linspace(0, 1, 501)))
    dice = np.zeros((2, edges.size))
    for value, mask in zip(values, masks, strict=True):
        cell = np.searchsorted(edges, value.ravel(), side="right")
        below = np.bincount(cell, minlength=edges.size + 1).cumsum()[:-1]
        polyp_below = np.bincount(cell[mask.ravel()], minlength=edges.size + 1).cumsum()[:-1]
        polyp = mask.sum()
        dice[0] += 2 * polyp_below / (below + polyp)
        dice[1] += 2 * (polyp - polyp_below) / (mask.size - below + polyp)
    return float(dice.max() / len(masks))


def test_the_threshold_sweep_finds_what_a_threshold_can_find(sample: list[Frame]) -> None:
    masks = [frame.mask for frame in sample]
    for sign in (1, -1):
        assert best_threshold_dice([sign * mask.astype(float) for mask in masks], masks) == pytest.approx(1)


def test_no_threshold_of_any_channel_finds_the_polyps(sample: list[Frame]) -> None:
    masks = [frame.mask for frame in sample]
    frames = [channels(frame.image) for frame in sample]
    for name in frames[0]:
        assert best_threshold_dice([frame[name] for frame in frames], masks) < 0.6, name


def test_with_instruments_there_are_two_classes_and_the_frames_below_are_the_same(tmp_path: Path) -> None:
    size = {"groups": 4, "frames": 2, "height": 72, "width": 88}
    write_phantom(tmp_path / "plain", **size)
    write_phantom(tmp_path / "two", instruments=True, **size)
    plain, two = Dataset.open(tmp_path / "plain"), Dataset.open(tmp_path / "two")
    assert two.targets == ("polyp", "instrument")
    seen = 0
    for case in two.cases:
        below, polyps = plain.load(plain[case.id])
        image, (polyp, tool) = two.load_classes(case)
        np.testing.assert_array_equal(polyp, polyps & ~tool)
        around = binary_dilation(tool, iterations=2)
        assert (image[~around] == below[~around]).all()
        if tool.any():
            seen += 1
            rows, columns = np.nonzero(around)
            assert label(tool)[1] == 1 and 0.005 < tool.mean() < 0.25
            window = below.max(2) > 20  # black beyond what the endoscope shows
            assert binary_dilation(~window, iterations=3)[around].any() or {0, 71} & {*rows} or {0, 87} & {*columns}
    assert 2 <= seen < len(two.cases)
