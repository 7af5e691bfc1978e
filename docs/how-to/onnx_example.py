"""Masks of an exported model with NumPy, Pillow and onnxruntime: python onnx_example.py EXPORT IMAGE MASK [SEED]."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


def noise(shape, seed, case):
    """Gaussian noise of a case: MT19937 and Box-Muller, as export.json describes."""
    digest = hashlib.sha256(f"{seed}:{case}".encode()).digest()
    generator = np.random.RandomState(int.from_bytes(digest[:7], "big") & 0xFFFFFFFF)
    bits = generator.randint(0, 2**32, int(np.prod(shape)), dtype=np.uint32)
    first, second = ((bits & 0xFFFFFF) / np.float32(2**24)).reshape(-1, 2, 8).transpose(1, 0, 2).astype(np.float32)
    radius, angle = np.sqrt(-2 * np.log(1 - first)), np.float32(2 * np.pi) * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(shape)


folder, source, target = map(Path, sys.argv[1:4])
model = json.loads((folder / "export.json").read_text())["model"]
session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

image = Image.open(source).convert("RGB")
square = np.array(image.resize((model["image_size"],) * 2, Image.Resampling.BILINEAR))
turns = [(0, 0), (0, 1), (2, 0), (2, 1), (1, 0), (1, 1), (3, 0), (3, 1)][: model["tta"]]
views = np.stack([np.rot90(square, turn)[:, :: -1 if mirror else 1] for turn, mirror in turns])
inputs = {"image": views}
if model["timestep"] is not None:  # a network with noise
    inputs["latent"] = noise((len(views), *model["noise_shape"]), int([*sys.argv, 0][4]), source.stem)
    if model["steps"] == 1:
        inputs["timestep"] = np.full(len(views), model["timestep"])
answers = session.run(["probability"], inputs)[0]
upright = [np.rot90(answers[i][:, :: -1 if mirror else 1], -turn) for i, (turn, mirror) in enumerate(turns)]
mean = Image.fromarray(np.mean(upright, axis=0).astype(np.float32))
probability = np.array(mean.resize(image.size, Image.Resampling.BILINEAR))
Image.fromarray((probability > 0.5).astype(np.uint8) * 255).save(target)
