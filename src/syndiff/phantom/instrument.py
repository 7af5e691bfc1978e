"""An instrument in the picture: a grey metal shaft with a bright line, which enters from the edge, over everything."""

import numpy as np
from numpy.typing import NDArray

STEEL = np.array([0.62, 0.64, 0.66], np.float32)
GLINT = np.array([1.0, 0.98, 0.95], np.float32)
_PRESENT = 0.75  # of the sequences show one


def draw_instrument(
    image: NDArray[np.uint8], window: NDArray[np.bool_], seed: int, group: int, index: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A copy of frame `index` (HxWx3) of a sequence with its instrument, and the pixels (HxW) that this covers.

    It shows where `window` (HxW) does, comes from one side of the frame and moves to and fro from frame to frame. A
    quarter of the sequences have none. It depends on (seed, group, index) and the frame's size alone.
    """
    height, width = window.shape
    rng = np.random.default_rng([seed, group, 1_000_003])
    present, way, off = rng.random() < _PRESENT, rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.35)
    radius, deep, speed = rng.uniform(0.035, 0.06), rng.uniform(0.15, 0.75), rng.uniform(0.4, 0.9)
    glint, base = rng.uniform(-0.45, 0.45), rng.uniform(0.75, 1.05)
    if not present:
        return image, np.zeros_like(window)
    # along: how far a pixel lies behind the tip, towards the edge; across: off the shaft's axis; in half frames
    half = min(height, width) / 2
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None] / np.float32(half)
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, :] / np.float32(half)
    turned = way + 0.08 * np.sin(1.3 * speed * index)
    cosine, sine = np.float32(np.cos(turned)), np.float32(np.sin(turned))
    along = x * cosine + y * sine - np.float32(0.9 - deep - 0.12 * np.sin(speed * index))
    across = (y * cosine - x * sine - np.float32(off)) / np.float32(2 * radius)
    beyond = np.minimum(along / np.float32(2 * radius), 0)  # a round tip
    out = np.sqrt(across**2 + beyond**2)
    share = np.clip((1 - out) * np.float32(2 * radius * half) + np.float32(0.5), 0, 1)
    round_light = np.sqrt(np.clip(1 - across**2, 0, 1)) * np.float32(base)
    shine = np.exp(-(((across - np.float32(glint)) / np.float32(0.16)) ** 2)) * (beyond == 0)
    colour = STEEL * (0.25 + 0.75 * round_light[..., None])
    colour = np.clip(colour + (GLINT - colour) * (0.9 * shine[..., None]), 0, 1)
    share = share * window
    drawn = image + (255 * colour - image) * share[..., None]
    return np.rint(np.clip(drawn, 0, 255)).astype(np.uint8), share > 0.5
