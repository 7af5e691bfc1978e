"""Frames a second of a video in and out, by stage: decoding, prediction, averaging, contours, H.264, FFV1.

    python benchmarks/video_speed.py --model runs/cvc/real --size 384x288 --out results/video/speed.json

The stages run one after another, so that each has its own time; with `--model` the verb is timed too, which reads,
computes and writes at once. The video is the phantom's, in H.264 at 25 frames a second, repeated to `--frames`. The
peak of memory is that of the process: compare two runs of different length. The machine should have nothing else to do;
its load at the beginning is in the result. Without `--model`, random weights of the preset compact: the time does not
depend on them.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from syndiff.config.loading import load_settings
from syndiff.files import claimed, write_json
from syndiff.inference.engines import threads
from syndiff.inference.formats import video_writer
from syndiff.inference.formats.base import Frame
from syndiff.inference.formats.video import VideoSource
from syndiff.inference.inputs import KIND, Input, find_inputs
from syndiff.inference.load import load, load_for
from syndiff.inference.options import Options
from syndiff.inference.predict import predict_into
from syndiff.inference.smoothing import Smoothing
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.predictor import Prediction
from syndiff.models.segmenter import initialise
from syndiff.phantom import render_sequence
from syndiff.pipeline.run import peak_memory_gib
from syndiff.training.run_folder import environment

RENDERED = 24


def write_clip(path: Path, pictures: list[NDArray[np.uint8]], frames: int) -> Path:
    """`frames` frames that go through the pictures to and fro."""
    to_and_fro = pictures + pictures[-2:0:-1]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(to_and_fro[number % len(to_and_fro)], format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


class Watch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, its time counted for `stage`."""

        def counted(*arguments: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **more)
            finally:
                self.seconds[stage] += time.perf_counter() - start

        return counted


def run(predictor: SegmenterPredictor, clip: Path, folder: Path) -> tuple[int, float, dict[str, float]]:
    """Frames, seconds in all, and seconds by stage."""
    watch = Watch()
    source, smoothing = VideoSource(clip), Smoothing()
    drawn = video_writer.draw_contours
    video_writer.draw_contours = watch.timed("contours", drawn)
    writer, count = source.writer(folder, "clip"), 0
    frames: Iterator[Any] = source.frames()
    take, add, rest = (
        watch.timed("decode", next),
        watch.timed("average", smoothing.add),
        watch.timed("average", smoothing.rest),
    )
    begin = time.perf_counter()
    try:
        while (frame := take(frames, None)) is not None:
            answer = predictor.predict(frame.image, case_id=frame.name)
            for stage, seconds in answer.seconds.items():
                watch.seconds[f"network: {stage}"] += seconds
            for each in add(frame, answer):
                writer.add(*each)
                if not count:
                    for track, stage in zip(writer._tracks, ("H.264", "FFV1"), strict=True):
                        track.add = watch.timed(stage, track.add)  # type: ignore[method-assign]
                count += 1
        for each in rest():
            writer.add(*each)
            count += 1
        watch.timed("end", writer.finish)()
    finally:
        video_writer.draw_contours = drawn
    return count, time.perf_counter() - begin, dict(watch.seconds)


def verb_speed(model: Path, clip: Path, out: Path, count: int) -> float:
    """Frames a second of `syndiff predict`, which reads, computes and writes at once; loading is not counted."""
    predictor, workers = load_for(model, Options(tta=1), threads())

    def segment(file: Input, frame: Frame) -> Prediction:
        return predictor.predict(frame.image, case_id=f"{file.stem}/{frame.name}")

    begin = time.perf_counter()
    with claimed(out, KIND):
        found = find_inputs(clip, out)
        outcome = predict_into(out, found, {}, segment, frozenset(), workers=workers, progress=False)
    assert outcome.frames == count, outcome.problems
    return count / (time.perf_counter() - begin)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a run folder, or whatever else syndiff.load takes")
    parser.add_argument("--size", default="384x288", help="width x height of the video")
    parser.add_argument("--image-size", type=int, help="side of the network's square, with random weights")
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    if options.model:
        predictor = load(options.model, tta=1)
    else:
        settings = load_settings("compact").model
        settings = replace(settings, pretrained=False, image_size=options.image_size or settings.image_size)
        predictor = SegmenterPredictor(initialise(settings, 0), settings.image_size, name="random")
    pictures = [frame.image for frame in render_sequence(0, 0, RENDERED, height, width)]
    result: dict[str, Any] = {"environment": environment(), "load_average_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "in.mp4", pictures, options.frames)
        predictor.predict(pictures[0])  # what only the first image takes
        count, seconds, stages = run(predictor, clip, Path(folder))
        verb = verb_speed(options.model, clip, Path(folder) / "verb", count) if options.model else None
    milliseconds = {stage: 1000 * each / count for stage, each in stages.items()}
    result |= {
        "engine": predictor.engine.name,
        "image_size": predictor.image_size,
        "video": options.size,
        "frames": count,
        "frames_a_second": count / seconds,
        "frames_a_second_of_the_verb": verb,
        "milliseconds_a_frame": milliseconds | {"all": 1000 * seconds / count},
        "peak_memory_gib": peak_memory_gib(),
    }
    for stage, each in result["milliseconds_a_frame"].items():
        print(f"{stage:24s} {each:7.2f} ms a frame")
    if verb:
        print(f"syndiff predict: {verb:.1f} frames a second")
    print(f"{result['frames_a_second']:.1f} frames a second, {result['peak_memory_gib']:.2f} GiB")
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
