"""An exported graph in 8-bit integers: ranges from training images, and the cost in Dice on validation cases."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.resize import resize_image
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.metrics import overlap
from syndiff.inference.engines import export_engine
from syndiff.inference.exported import GRAPH, ExportCard
from syndiff.models.noise import case_noise
from syndiff.models.predictor import SquarePredictor

CALIBRATION_IMAGES = 100
"""Training images that the ranges of the numbers are taken from."""
_OPERATORS = ["Conv", "Add", "Concat", "Resize", "Clip", "Relu"]
"""In 8 bits; normalisations, sigmoids and the embedding of the timestep stay in float32: quick there, and exact."""


def cases_of(run: Path, data: Path, *, progress: bool) -> tuple[Dataset, Split]:
    """The dataset that `run` was trained on, and its split. Raises SyndiffError where `data` is another one."""
    if not (run / "split.json").is_file():
        raise SyndiffError(f"{run} is no run folder: int8 needs its split.json, which tells the training cases.")
    dataset = open_checked(data, progress=progress)
    split = Split.read(run / "split.json")
    split.check(dataset)
    return dataset, split


def quantise(graph: Path, card: ExportCard, dataset: Dataset, split: Split, *, progress: bool) -> ExportCard:
    """Replace the float32 `graph`, which `card` describes, by one in int8; the card of the new one, with its cost.

    Static quantisation with a scale for each channel of the weights, as ONNX Runtime advises for convolutions.
    """
    before = graph.with_name("float32") / GRAPH
    before.parent.mkdir()
    shutil.copyfile(graph, before)
    quantise_graph(before, graph, _inputs(card, dataset, split, progress=progress))
    dice = [_mean_dice(folder, card, dataset, split, progress=progress) for folder in (before.parent, graph.parent)]
    cost = {"cases": len(split.val), "dice_float32": dice[0], "dice_int8": dice[1], "images": _count(split)}
    return replace(card, precision="int8", cost=cost, calibration=None)  # its threshold holds for float32 alone


def in_words(cost: dict) -> str:
    """The cost as a sentence."""
    before, after = cost["dice_float32"], cost["dice_int8"]
    return (
        f"Mean Dice on {cost['cases']} validation cases, one view: {before:.4f} in float32, {after:.4f} in int8 "
        f"({after - before:+.4f}); ranges from {cost['images']} training images."
    )


def _count(split: Split) -> int:
    return min(CALIBRATION_IMAGES, len(split.train))


def _inputs(card: ExportCard, dataset: Dataset, split: Split, *, progress: bool) -> Iterator[dict[str, NDArray]]:
    """What the graph is given for training images, evenly taken from all of them."""
    chosen = np.linspace(0, len(split.train) - 1, _count(split)).round().astype(int)
    for index in tqdm(chosen, desc="ranges", unit="image", disable=not progress):
        case_id = split.train[index]
        image, _ = dataset.load(dataset[case_id])
        inputs: dict[str, NDArray] = {"image": resize_image(image, card.image_size)[None]}
        if card.timestep is not None:
            inputs["latent"] = case_noise(card.noise_shape, seed=0, case_id=case_id)
        if card.starts_anywhere:
            inputs["timestep"] = np.array([card.timestep])
        yield inputs


def quantise_graph(before: Path, after: Path, inputs: Iterator[dict[str, NDArray]]) -> None:
    """Write the float32 graph `before` in int8 as `after`, with the ranges of the numbers that `inputs` lead to."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, NDArray] | None:
            return next(inputs, None)

    prepared = before.with_name("prepared.onnx")
    quant_pre_process(before, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        after,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=_OPERATORS,
    )


def _mean_dice(folder: Path, card: ExportCard, dataset: Dataset, split: Split, *, progress: bool) -> float:
    """Mean Dice over validation cases and classes, at their own size, one view; two empty masks count 1."""
    predictor = SquarePredictor(export_engine("onnx", folder, card), card.image_size, name=card.name)
    scores = []
    for case_id in tqdm(split.val, desc="Dice", unit="case", disable=not progress):
        image, masks = dataset.load_classes(dataset[case_id])
        for found, mask in zip(predictor.predict(image, case_id=case_id).masks, masks, strict=True):
            both = overlap(int((found & mask).sum()), int(found.sum()), int(mask.sum()))
            scores.append(1.0 if both is None else both[0])
    return float(np.mean(scores))
