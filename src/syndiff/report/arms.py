"""What a run compares: the names of its arms and of its folder of synthetic cases, and how the report calls them."""

from syndiff.models.settings import Kind

CONTROL, REAL, BOTH = "control", "real", "real+synthetic"
"""The folders of the arms: a plain U-Net, the segmenter on real cases, the segmenter on real and synthetic cases."""

KINDS: dict[str, Kind] = {CONTROL: "control", REAL: "diffusion", BOTH: "diffusion"}
"""The kind of network that an arm trains, in the order in which they are trained."""

LABELS = {CONTROL: "control", REAL: "real only", BOTH: "real + synthetic"}
COMPARISONS = ((BOTH, REAL), (REAL, CONTROL))
"""Which arms' scores are set against which."""

SYNTHETIC, INPAINTER, GAP = "synthetic", "inpainter", "gap"
"""The folders of the synthetic cases, of the inpainter taught for them, and of the look at their domain gap."""
