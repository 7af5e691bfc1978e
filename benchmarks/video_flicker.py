"""What keeps the masks of a video from flickering, and what it costs: Dice and the IoU of neighbouring masks.

    python benchmarks/video_flicker.py --data ../shared/data/cvc-clinicdb --run runs/cvc/real \
        --phantom-run runs/phantom --out results/video/flicker.json

Three kinds of clips whose truth is known, at 25 frames a second:

- phantom: new sequences of the phantom of `--phantom-run`, rendered at an eighth of its camera's speed;
- panned: single frames of the data set, moved, turned and zoomed smoothly, with new sensor noise in each;
- frames in order: what the data set holds of each of its videos, often seconds apart: the hardest case.

`--run` was trained on the data set; the clips are of its validation and its test sequences. Compared are one view
without memory; one noise for all frames; the previous frame's clean latent as a start at timestep t, anew from noise
after a cut; and averages of probabilities over time: as `predict` does it, without the rule that a picture that changes
is averaged over less, and live, without frames that are still to come. All figures are means of the means of clips.
"""

import argparse
import os
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.diffusion.coefficients import Coefficients
from syndiff.evaluation.metrics import overlap
from syndiff.evaluation.statistics import paired_difference, score_interval
from syndiff.files import write_json
from syndiff.inference.formats.base import Frame
from syndiff.inference.options import SMOOTH_SECONDS as SECONDS
from syndiff.inference.predict import load
from syndiff.inference.smoothing import AHEAD, CUT, Smoothing, change, thumbnail
from syndiff.models.noise import case_noise
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.predictor import Start
from syndiff.phantom.colon import make_colon
from syndiff.phantom.mucosa import make_mucosa
from syndiff.phantom.optics import make_endoscope, photograph
from syndiff.phantom.sequence import make_motion, place_lesions
from syndiff.phantom.shading import Scene, make_appearance
from syndiff.training.run_folder import environment

RATE = 25
TIMESTEPS = (50, 200, 500, 800)
SECONDS_TRIED = (0.05, 0.1, 0.2)
Clip = list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]


def phantom_clip(group: int, frames: int, *, slower: int = 8, height: int = 288, width: int = 352) -> Clip:
    """Sequence `group` of phantom 0, its camera slower than that of the dataset."""
    rng = np.random.default_rng([0, group])
    endoscope, appearance = make_endoscope(rng, height, width), make_appearance(rng)
    colon, mucosa, motion = make_colon(rng), make_mucosa(rng), make_motion(rng)
    scene = Scene(colon, mucosa, appearance, place_lesions(rng, colon, motion, height / width))
    clip = []
    for index in range(frames):
        own = np.random.default_rng([0, group, index + 1])
        image, owner, _ = photograph(scene, endoscope, *motion.pose(index / slower), own)
        clip.append((image, owner > 0))
    return clip


def panned_clip(image: NDArray[np.uint8], mask: NDArray[np.bool_], frames: int, seed: int) -> Clip:
    """One frame seen by a camera that sways: 3 % of the sides, 5 degrees and 4 % of zoom to either side."""
    height, width = mask.shape
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.08, 0.2, 4)
    clip = []
    for index in range(frames):
        turn, zoom, across, down = np.sin(speed * index + phase)
        scale, angle = 0.9 + 0.04 * zoom, np.deg2rad(5) * turn
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        x, y = width / 2 + 0.03 * width * across, height / 2 + 0.03 * height * down
        matrix = (cos, -sin, x - (cos * width - sin * height) / 2, sin, cos, y - (sin * width + cos * height) / 2)
        moved = [
            np.asarray(
                Image.fromarray(each).transform((width, height), Image.Transform.AFFINE, matrix, how), np.float32
            )
            for each, how in ((image, Image.Resampling.BICUBIC), (mask.astype(np.float32), Image.Resampling.BILINEAR))
        ]
        noise = np.random.default_rng([seed, index])
        noisy = moved[0] * noise.normal(1, 0.01) + noise.normal(0, 3, image.shape)
        clip.append((np.clip(noisy, 0, 255).astype(np.uint8), moved[1] > 0.5))
    return clip


def real_clips(data: Path, split: Path, side: str, frames: int) -> dict[str, dict[str, Clip]]:
    """The frames of each sequence of a side in order, and two of each panned."""
    dataset = Dataset.open(data)
    chosen = getattr(Split.read(split), side)
    in_order: dict[str, Clip] = {}
    for case in (dataset[name] for name in sorted(chosen, key=int)):
        in_order.setdefault(str(case.group), []).append(dataset.load(case))
    panned = {
        f"{group}, frame {index + 1}": panned_clip(*clip[index], frames, index + len(clip))
        for group, clip in in_order.items()
        for index in (len(clip) // 4, 3 * len(clip) // 4)
    }
    return {"panned": panned, "frames in order": in_order}


Masks = list[NDArray[np.bool_]]


class Strategies:
    """Masks of a clip by each strategy; what a frame alone answers is computed once."""

    def __init__(self, segmenter: SegmenterPredictor) -> None:
        self.segmenter = segmenter
        settings = segmenter.model.settings
        self.signal, self.noise = Coefficients(
            timesteps=settings.timesteps,
            beta_start=settings.beta_start,
            beta_end=settings.beta_end,
            zero_terminal_snr=settings.zero_terminal_snr,
        ).signal_and_noise()

    def masks(self, name: str, clip: Clip) -> dict[str, Masks]:
        """By name of the strategy."""
        images = [image for image, _ in clip]
        alone = [self.segmenter.predict(image, case_id=f"{name}/{index}") for index, image in enumerate(images)]
        thumbnails = [thumbnail(image) for image in images]
        cuts = [False, *(change(*pair) >= CUT for pair in pairwise(thumbnails))]
        found = {"off": [answer.mask for answer in alone]}
        found["one noise"] = [self.segmenter.predict(image, case_id=name).mask for image in images]
        for timestep in TIMESTEPS:
            latents, masks = alone[0].latents, [alone[0].mask]
            for index in range(1, len(images)):
                answer = alone[index] if cuts[index] else self._from(latents, timestep, name, index, images[index])
                latents = answer.latents
                masks.append(answer.mask)
            found[f"latent, t = {timestep}"] = masks

        def averaged(seconds: float, ahead: int = AHEAD, *, still: bool = False) -> Masks:
            memory, out = Smoothing(seconds, ahead=ahead), []
            for index, (image, answer) in enumerate(zip(images, alone, strict=True)):
                out += memory.add(Frame(images[0] if still else image, seconds=index / RATE), answer)
            return [answer.mask for _, answer in out + memory.rest()]

        found |= {f"average, {seconds} s": averaged(seconds) for seconds in SECONDS_TRIED}
        found[f"average, {SECONDS} s, no rule"] = averaged(SECONDS, still=True)
        found[f"average, {SECONDS} s, live"] = averaged(SECONDS, ahead=0)
        return found

    def _from(
        self, latents: NDArray[np.float32], timestep: int, name: str, index: int, image: NDArray[np.uint8]
    ) -> Any:
        noise = case_noise(self.segmenter.engine.noise_shape, seed=0, case_id=f"{name}/{index}")
        start = self.signal[timestep] * latents + self.noise[timestep] * noise
        return self.segmenter.predict(image, start=Start(start, timestep))


def dice_of(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice; two empty masks are alike."""
    found = overlap(int((mask & truth).sum()), int(mask.sum()), int(truth.sum()))
    return found[0] if found else 1.0


def steadiness(masks: Masks) -> float:
    """Mean IoU of neighbouring masks; two empty ones are alike."""
    shared = [(first & second).sum() for first, second in pairwise(masks)]
    either = [(first | second).sum() for first, second in pairwise(masks)]
    return float(np.mean([a / b if b else 1.0 for a, b in zip(shared, either, strict=True)]))


def measure(segmenter: SegmenterPredictor, clips: dict[str, Clip]) -> dict[str, Any]:
    """Dice and steadiness of each strategy in each clip, means, and differences to "off" with intervals over clips."""
    strategies = Strategies(segmenter)
    dice: dict[str, list[float]] = {}
    steady: dict[str, list[float]] = {"truth": [steadiness([mask for _, mask in clip]) for clip in clips.values()]}
    for name, clip in clips.items():
        for strategy, masks in strategies.masks(name, clip).items():
            scores = [dice_of(mask, truth) for mask, (_, truth) in zip(masks, clip, strict=True)]
            dice.setdefault(strategy, []).append(float(np.mean(scores)))
            steady.setdefault(strategy, []).append(steadiness(masks))
    groups = [name.split(",")[0] for name in clips]

    def summary(values: dict[str, list[float]]) -> dict[str, Any]:
        return {
            name: {
                "mean": asdict(score_interval(each, groups)),
                "minus_off": asdict(paired_difference(each, values["off"], groups)) if name != "off" else None,
                "clips": dict(zip(clips, each, strict=True)),
            }
            for name, each in values.items()
        }

    return {"dice": summary(dice), "neighbour_iou": summary(steady)}


def main() -> None:
    """Measure both sides and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder whose cases are numbered in order")
    parser.add_argument("--run", type=Path, required=True, help="a segmenter trained on it, with its split.json")
    parser.add_argument(
        "--phantom-run", type=Path, required=True, help="one trained on the phantom's first 40 sequences"
    )
    parser.add_argument("--frames", type=int, default=25, help="of a clip of the phantom or of a panned frame")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    real, phantom = load(options.run, tta=1), load(options.phantom_run, tta=1)
    result: dict[str, Any] = {"environment": environment(), "load_average_before": os.getloadavg()[0]}
    result |= {"frames": options.frames, "rate": RATE, "cut": CUT}
    for side, sequences in (("val", range(40, 45)), ("test", range(45, 53))):
        moving = {f"sequence {each + 1}": phantom_clip(each, options.frames) for each in sequences}
        result[side] = {"phantom": measure(phantom, moving)}
        for kind, clips in real_clips(options.data, options.run / "split.json", side, options.frames).items():
            result[side][kind] = measure(real, clips)
        for kind, found in result[side].items():
            print(f"\n{side}: {kind}")
            for name, values in found["neighbour_iou"].items():
                score = found["dice"].get(name, {"mean": {"mean": 1.0}})["mean"]["mean"]
                print(f"{name:28s} Dice {score:.4f}  neighbour IoU {values['mean']['mean']:.4f}")
    write_json(options.out, result)


if __name__ == "__main__":
    main()
