"""What a second look gains on frames larger than the network sees, and what stands in the way: by size of lesion.

    python benchmarks/refine.py looks --run runs/mine --data my-polyps --side val --out results/refine/looks.json
    python benchmarks/refine.py ceiling --data my-polyps --size 192 --cases 100 --out results/refine/ceiling.json

`looks` predicts every case of a side of a run's split (val, test), or with `all` every case of a dataset that the run
did not learn from, once with each look of --looks, in turn on the same image: means, paired differences to one look
with intervals (`evaluation.statistics`), missed and false lesions, all of them by size of lesion too, and the ratio of
the times. --set context=1.4 tries another way of looking (the fields of `Refinement`). Targets: NSD at 2 pixels + .10
with no loss of Dice at 2.5 times the time; small lesions missed less often.

`ceiling` needs no run: it takes the annotated masks on the network's way, whatever the network, and back to the frame:
resized alone, and through the autoencoder as well, of the whole frame and of crops around the lesions.
"""

import argparse
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.resize import resize_mask, restore_probability
from syndiff.data.splits import Split
from syndiff.data.targets import Targets
from syndiff.evaluation.evaluate import metric_interval
from syndiff.evaluation.metrics import CaseMetrics, case_metrics
from syndiff.evaluation.sizes import Sized, by_size, size_names, size_of
from syndiff.evaluation.statistics import paired_difference
from syndiff.files import write_json
from syndiff.inference.load import checkpoint_of
from syndiff.models.autoencoder import Autoencoder, load_autoencoder
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.refinement import Maps, Refinement
from syndiff.models.segmenter import MASK_LOGIT_SCALE
from syndiff.models.settings import Refine

SCORES = ("dice", "nsd", "hd95")
Mask = NDArray[np.bool_]


def looks(options: argparse.Namespace) -> dict[str, Any]:
    """Scores and seconds of each look at every case."""
    dataset = Dataset.open(options.data)
    ids = _cases(dataset, options, options.side)
    checkpoint, chosen = checkpoint_of(options.run), _refinement(options.set)
    predictors = {}
    for name in ("none", *(each for each in options.looks if each != "none")):
        predictors[name] = SegmenterPredictor.load(checkpoint, name=name, tta=options.tta, refine=name)
        predictors[name].refinement = chosen
    found: dict[str, list[Sized]] = {name: [] for name in predictors}
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    _warm_up(predictors, dataset.load(dataset[ids[0]])[0])
    for turn, case_id in enumerate(tqdm(ids, unit="case")):
        image, mask = dataset.load(dataset[case_id])
        order = list(predictors) if turn % 2 else list(reversed(predictors))
        for name in order:
            begin = time.perf_counter()
            answer = predictors[name].predict(image, case_id=case_id)
            seconds[name].append(time.perf_counter() - begin)
            found[name].append(Sized(case_metrics(answer.mask, mask, tolerance=options.tolerance), float(mask.mean())))
    groups = [dataset[case_id].group for case_id in ids]
    known = groups if any(groups) else None
    return {
        "checkpoint": str(checkpoint),
        "dataset": dataset.name,
        "side": options.side,
        "tolerance": options.tolerance,
        "views": predictors["none"].tta,
        "refinement": asdict(chosen),
        "frame": _frame_sizes(dataset, ids),
        "looks": {
            name: {
                **_scores(found[name], known),
                "false_lesions": sum(case.metrics.false_lesions for case in found[name]),
                "median_milliseconds": round(1000 * statistics.median(seconds[name]), 1),
                "times_the_time": round(sum(seconds[name]) / sum(seconds["none"]), 3),
            }
            for name in predictors
        },
        "against_one_look": {
            name: _differences(found[name], found["none"], known) for name in predictors if name != "none"
        },
    }


def ceiling(options: argparse.Namespace) -> dict[str, Any]:
    """Scores of the annotations themselves after the way to the network's size, through the autoencoder, and back."""
    dataset, chosen = Dataset.open(options.data), _refinement(options.set)
    ids = _cases(dataset, options, "all")
    autoencoder = load_autoencoder(options.autoencoder)
    ways: dict[str, Callable[[Mask], Maps]] = {
        "resized": lambda mask: _resized(mask, options.size),
        "through the autoencoder": lambda mask: _decoded(mask, options.size, autoencoder),
    }
    found: dict[str, list[Sized]] = {f"{way}, {look}": [] for way in ways for look in ("one look", "second look")}
    for case_id in tqdm(ids, unit="case"):
        _, mask = dataset.load(dataset[case_id])
        for way, through in ways.items():
            square = through(mask)
            whole = np.stack([restore_probability(each, *mask.shape) for each in square])
            again = _second_look(mask, whole, square, through, chosen)
            for look, probability in (("one look", whole), ("second look", again)):
                metrics = case_metrics(probability[0] > 0.5, mask, tolerance=options.tolerance)
                found[f"{way}, {look}"].append(Sized(metrics, float(mask.mean())))
    return {
        "autoencoder": options.autoencoder,
        "size": options.size,
        "dataset": dataset.name,
        "tolerance": options.tolerance,
        "refinement": asdict(chosen),
        "frame": _frame_sizes(dataset, ids),
        "ways": {name: _scores(cases, None) for name, cases in found.items()},
    }


def _resized(mask: Mask, size: int) -> Maps:
    """What training takes for the truth, and a perfect network answers: a binary mask at the network's size."""
    return resize_mask(mask, size)[None].astype(np.float32)


@torch.inference_mode()
def _decoded(mask: Mask, size: int, autoencoder: Autoencoder) -> Maps:
    """What a perfect denoiser gives: the probability that the mask's own latent is decoded to."""
    latent = autoencoder.encode_mask(torch.from_numpy(_resized(mask, size))[None])
    logits = autoencoder.decode_mask(latent) * MASK_LOGIT_SCALE
    return logits.sigmoid()[0].numpy()


def _second_look(mask: Mask, whole: Maps, square: Maps, through: Callable[[Mask], Maps], chosen: Refinement) -> Maps:
    """The annotation seen again in the crops that a second look takes."""

    def look(parts: Sequence[NDArray], in_all_views: bool) -> list[Maps]:
        return [through(part[..., 0] > 0) for part in parts]

    return chosen.refine(mask[..., None].astype(np.uint8), whole, square, look, Targets(), tiles=False)


def _scores(cases: Sequence[Sized], groups: Sequence[str | None] | None) -> dict[str, Any]:
    """Means with intervals, counts, and the same by size without intervals."""
    every = [case.metrics for case in cases]
    return {
        "cases": len(cases),
        **{name: _rounded(asdict(metric_interval(name, _values(every, name), groups))) for name in SCORES},
        "lesions": sum(metrics.lesions for metrics in every),
        "missed_lesions": sum(metrics.missed_lesions for metrics in every),
        "sizes": {name: _rounded(asdict(row)) for name, row in by_size(cases).items()},
    }


def _differences(ours: Sequence[Sized], theirs: Sequence[Sized], groups: Sequence[str | None] | None) -> dict[str, Any]:
    """Paired differences of all cases, and of those of each size."""
    parts = {"all": list(range(len(ours)))}
    for size in size_names():
        parts[size] = [at for at, case in enumerate(ours) if size_of(case.share) == size]
    return {
        part: {
            name: _rounded(
                asdict(
                    paired_difference(
                        *(_values([cases[at].metrics for at in places], name) for cases in (ours, theirs)),
                        None if groups is None else [groups[at] for at in places],
                        distances=name == "hd95",
                    )
                )
            )
            for name in SCORES
        }
        for part, places in parts.items()
        if places
    }


def _values(metrics: Sequence[CaseMetrics], name: str) -> list[float | None]:
    return [getattr(each, name) for each in metrics]


def _cases(dataset: Dataset, options: argparse.Namespace, side: str) -> list[str]:
    """The cases of the side that are large enough; of --cases only so many, evenly spread."""
    if side == "all":
        ids = [case.id for case in dataset.cases]
    else:
        ids = list(getattr(Split.read(options.split or options.run / "split.json"), side))
    if options.longer_side:
        ids = [case_id for case_id in ids if max(Image.open(dataset[case_id].image).size) >= options.longer_side]
    return ids[:: max(1, len(ids) // options.cases)][: options.cases] if options.cases else ids


def _refinement(changes: Sequence[str]) -> Refinement:
    """The usual one with `name=value` changes."""
    kinds = {each.name: type(each.default) for each in fields(Refinement)}
    pairs = [change.split("=") for change in changes]
    return replace(Refinement(), **{name: kinds[name](value) for name, value in pairs})


def _warm_up(predictors: dict[str, SegmenterPredictor], image: NDArray) -> None:
    for predictor in predictors.values():
        for _ in range(2):
            predictor.predict(image, case_id="warm-up")


def _frame_sizes(dataset: Dataset, ids: Sequence[str]) -> dict[str, float]:
    """Quartiles of the longer side of the frames, in pixels."""
    sides = [max(dataset.masks_alone(dataset[case_id]).shape[1:]) for case_id in ids]
    low, median, high = np.quantile(sides, [0.25, 0.5, 0.75]).tolist()
    return {"quarter": low, "median": median, "three_quarters": high, "largest": max(sides)}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("looks", "ceiling"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--side", choices=("val", "test", "all"), default="val")
    parser.add_argument("--split", type=Path, help="a split of --data, where it is not the run's own dataset")
    parser.add_argument("--looks", nargs="+", choices=get_args(Refine), default=["lesions", "tiles"])
    parser.add_argument("--tta", type=int, help="views; the run's own by default")
    parser.add_argument("--set", nargs="*", default=[], help="fields of Refinement, as name=value")
    parser.add_argument("--autoencoder", default="mask")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--cases", type=int, help="evenly spread cases instead of all")
    parser.add_argument("--longer-side", type=int, help="only frames whose longer side has so many pixels at least")
    parser.add_argument("--tolerance", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.part == "looks" and options.run is None:
        parser.error("looks needs --run")
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": {"platform": platform.platform(), "torch": torch.__version__, "threads": torch.get_num_threads()},
        **(looks if options.part == "looks" else ceiling)(options),
    }
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
