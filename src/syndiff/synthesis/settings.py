"""What is painted, with what, and how much of it."""

from dataclasses import dataclass
from typing import Literal

from syndiff.errors import SyndiffError


@dataclass(frozen=True, kw_only=True)
class SynthesisSettings:
    """Settings of the synthetic part of a training set.

    Attributes:
        inpainter: "copy_paste" blends a real training lesion into another training frame; "sdxl" paints one from text.
        share: synthetic cases as a fraction of the real training cases; the paper's best ratio is 0.2.
        feather: pixels over which painted pixels fade in, inside the mask.
        model: folder or hub id of the diffusion pipeline, for "sdxl" only; empty is SDXL inpainting on the hub.
        revision: commit of the hub repository, for "sdxl" only; empty for a folder.
        prompts: prompt pack, by name (polyp, nucleus, lesion) or as the path of a YAML file; empty: the one that serves
            the dataset's class.
    """

    inpainter: Literal["copy_paste", "sdxl"] = "copy_paste"
    share: float = 0.2
    feather: float = 3.0
    model: str = ""
    revision: str = ""
    prompts: str = ""

    def __post_init__(self) -> None:
        if self.share <= 0 or self.feather < 0:
            raise SyndiffError(
                f"synthesis settings: found share={self.share} and feather={self.feather}; share must be above 0, "
                "feather 0 or more."
            )
        if self.inpainter == "copy_paste" and (self.model or self.revision):
            raise SyndiffError(
                f"synthesis settings: model={self.model!r} and revision={self.revision!r} have no effect with "
                "copy_paste; leave them out or set inpainter to sdxl."
            )
