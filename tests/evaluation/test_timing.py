import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from syndiff.errors import SyndiffError
from syndiff.evaluation.timing import time_predictor
from syndiff.models.predictor import Prediction, StageClock


class TinySegmenter:
    """A real predictor of two convolutions, with the stages of the large one."""

    name = "tiny"

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.settings = {"channels": 8}
        self.network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 1, 1))
        self.network.to(dtype)
        self.dtype = dtype
        self.cases: list[str] = []

    @torch.inference_mode()
    def predict(self, image: NDArray, *, case_id: str) -> Prediction:
        self.cases.append(case_id)
        clock = StageClock()
        with clock.stage("preprocess"):
            batch = torch.from_numpy(image).permute(2, 0, 1)[None].to(self.dtype) / 255
        with clock.stage("encode"):
            features = self.network[0](batch)
        with clock.stage("decode"):
            probability = self.network[1](features).sigmoid()[0, 0].float().numpy()
        return Prediction(probability > 0.5, probability, clock.seconds)


IMAGE = np.zeros((48, 64, 3), np.uint8)


def test_a_timing_says_how_long_each_stage_took_and_on_what(tmp_path: Path) -> None:
    predictor = TinySegmenter()
    timing = time_predictor(predictor, IMAGE, warmup=2, repeats=7, out=tmp_path / "timing.json")
    assert timing == json.loads((tmp_path / "timing.json").read_text())
    assert len(predictor.cases) == 9
    assert (timing["predictor"], timing["warmup"], timing["repeats"]) == ("tiny", 2, 7)
    assert timing["image"] == {"height": 48, "width": 64}
    assert list(timing["milliseconds"]["stages"]) == ["preprocess", "encode", "decode"]
    for spread in (timing["milliseconds"]["total"], *timing["milliseconds"]["stages"].values()):
        assert 0 < spread["p10"] <= spread["median"] <= spread["p90"]
    stages = sum(stage["p10"] for stage in timing["milliseconds"]["stages"].values())
    assert timing["milliseconds"]["total"]["p90"] > stages
    assert (timing["device"], timing["dtype"]) == ("cpu", "float32")
    assert timing["threads"] == torch.get_num_threads()
    machine = timing["machine"]
    assert machine["torch"] == torch.__version__
    assert machine["cores"] == os.cpu_count()
    assert machine["platform"] and machine["processor"] and machine["python"]
    assert machine["gpu"] is None


def test_the_warm_up_is_thrown_away() -> None:
    class SlowStart(TinySegmenter):
        def predict(self, image: NDArray, *, case_id: str) -> Prediction:
            slow = not self.cases
            prediction = super().predict(image, case_id=case_id)
            end = time.perf_counter() + (0.3 if slow else 0)
            while time.perf_counter() < end:
                pass
            return prediction

    cold = time_predictor(SlowStart(), IMAGE, warmup=0, repeats=1)
    warm = time_predictor(SlowStart(), IMAGE, warmup=1, repeats=1)
    assert cold["milliseconds"]["total"]["median"] > 300 > warm["milliseconds"]["total"]["median"]


def test_precision_is_read_off_the_network_or_given() -> None:
    assert time_predictor(TinySegmenter(torch.bfloat16), IMAGE, repeats=1)["dtype"] == "bfloat16"
    assert time_predictor(TinySegmenter(), IMAGE, repeats=1, dtype=torch.float16)["dtype"] == "float16"


def test_a_predictor_without_a_network_has_no_device_to_report() -> None:
    class Blank:
        name = "blank"

        def predict(self, image: NDArray, *, case_id: str) -> Prediction:
            probability = np.zeros(image.shape[:2], np.float32)
            return Prediction(probability > 0.5, probability, {})

    timing = time_predictor(Blank(), IMAGE, repeats=1)
    assert timing["device"] is timing["dtype"] is None
    assert timing["milliseconds"]["stages"] == {}


@pytest.mark.parametrize("setting", [{"repeats": 0}, {"warmup": -1}])
def test_senseless_settings_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(SyndiffError, match=next(iter(setting))):
        time_predictor(TinySegmenter(), IMAGE, **setting)


def test_a_stage_entered_again_adds_up_and_a_failed_one_is_not_counted() -> None:
    clock = StageClock(torch.device("cpu"))
    with clock.stage("denoise"):
        pass
    once = clock.seconds["denoise"]
    with clock.stage("denoise"):
        sum(range(10_000))
    assert clock.seconds["denoise"] > once > 0
    with pytest.raises(ZeroDivisionError), clock.stage("decode"):
        1 / 0  # noqa: B018
    assert list(clock.seconds) == ["denoise"]
