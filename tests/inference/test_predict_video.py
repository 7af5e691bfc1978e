"""`syndiff predict` on videos: frames, times and rows agree; a broken one is named and the rest goes on."""

import csv

import numpy as np
import pytest
from test_predict import draw, write_run

from videos import STEADY, decoded, pictures, write_video


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), 0)


def test_a_folder_with_a_video_and_a_broken_one(syndiff, run, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    draw(folder / "picture.png")
    good = write_video(folder / "good.mp4", pictures(12))
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    cut = write_video(folder / "cut.mkv", noise, range(0, 40 * 512, 512))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (folder / "no.mov").write_bytes(b"hello")
    told = syndiff("predict", "--run", run, "--images", folder, "--out", out)
    assert told.status == 1 and "cut.mkv is cut off or damaged" in told.err and "no.mov cannot be opened" in told.err
    assert told.err.count("good.mp4 is") == 0
    times, shown = decoded(out / "good.mp4", "rgb24")
    assert times == decoded(good, "rgb24")[0] and len(shown) == len(STEADY)
    masks = decoded(out / "good.masks.mkv", "gray")[1]
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "good" in str(row)]
    assert len(rows) == 12
    assert [int(row["area_pixels"]) for row in rows] == [int((mask > 0).sum()) for mask in masks]
    again = syndiff("predict", "--run", run, "--images", folder, "--out", out)
    assert again.status == 1 and "0 masks written" in again.out.replace("0 files", "0 masks")
    assert syndiff("predict", "--run", run, "--images", good, "--out", out, "--smooth", 0.5).status == 2
    assert syndiff("predict", "--run", run, "--images", good, "--out", tmp_path / "b", "--smooth", -1).status == 2
