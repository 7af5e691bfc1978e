"""Small folders to browse."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def write_case(root: Path, name: str, size: tuple[int, int] = (24, 20), colour: int = 90) -> None:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 60, 50)).save(root / "images" / f"{name}.png")
    mask = np.zeros(size[::-1], np.uint8)
    mask[4:9, 3:13] = 255
    Image.fromarray(mask).save(root / "masks" / f"{name}.png")


def sample(number: int, *, accepted: bool, prompt: str, seam: float | None) -> dict:
    return {
        "id": f"synthetic-{number:06d}",
        **dict.fromkeys(("mask_source", "group", "mask_group", "negative_prompt", "words", "placement", "removal")),
        "source_case": "a",
        "prompt": prompt,
        "seed": 5 + number,
        "backend": {"name": "compact", "hash": None},
        "settings": {},
        "gates": {"seam": seam, "noise": 1.5 - number},
        "accepted": accepted,
        "reason": None if accepted else "seam",
        "detail": None if accepted else "seam: a visible edge",
        "versions": {},
    }


def write_synthetic(root: Path) -> Path:
    """A synthetic dataset of three samples, the second of which its gates rejected."""
    lines = [
        sample(0, accepted=True, prompt="a small red polyp", seam=0.2),
        sample(1, accepted=False, prompt="a large pale polyp", seam=0.9),
        sample(2, accepted=True, prompt="a small pale polyp", seam=None),
    ]
    for number, line in enumerate(lines):
        write_case(root if line["accepted"] else root / "rejected", line["id"], colour=130 + number)
    (root / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return root
