"""What is painted, with what, and how much of it."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from syndiff.bounds import Bounds, Section
from syndiff.errors import SyndiffError

_TOLD_OTHERWISE = ("inpainter", "share", "paints", "backgrounds", "lesions", "model", "revision", "prompts")
"""Settings that name what a manifest identifies by its content, and the share, which is the caller's."""


@dataclass(frozen=True, kw_only=True)
class SynthesisSettings(Section):
    """Settings of the synthetic part of a training set.

    Attributes:
        inpainter: "compact" and "sdxl" paint a lesion from text; "copy_paste" blends a real training lesion into
            another training frame, the control.
        share: synthetic cases as a fraction of the real training cases; the paper's best ratio is 0.2.
        paints: which class of a dataset of several is painted, by its name; empty: the one that most training cases
            have. The other classes stay where they are, and new lesions keep clear of them.
        feather: pixels over which inpainted pixels fade in, inside the mask.
        grain: give inpainted pixels as much grain as their surroundings have, where they have less.
        background_lesion: what becomes of the lesions that a frame has already. "keep": they stay, the new label is
            theirs and the new lesion's. "remove": mucosa is painted over them first, the label is the new lesion's.
            "restyle": they are repainted where they are, the label is the frame's own. "replace": a new lesion of
            another shape, 1 to 1.7 times as long, is painted over the largest one and healthy tissue over the rest, the
            label is the new lesion's. The last three need an inpainter that paints from text.
        backgrounds: folder of frames without any lesion to paint into, instead of the training frames; images, or a
            dataset folder with empty masks. They are cut to their field of view.
        lesions: folder of another dataset with masks that lends its lesions, as shapes and, for copy_paste, with their
            own detail, instead of the training cases; these still say how large new lesions are.
        model: for "compact" the run folder of `syndiff adapt`, or one of its checkpoints (`adapt` itself starts from
            that run); for "sdxl" the folder or hub id of a diffusion pipeline, empty is SDXL inpainting on the hub.
        revision: commit of the hub repository, for "sdxl" only; empty for a folder.
        prompts: prompt pack, by name (polyp, nucleus, lesion) or as the path of a YAML file; empty: the one that serves
            the dataset's class.
    """

    section = "synthesis"

    inpainter: Literal["compact", "copy_paste", "sdxl"] = "compact"
    share: Annotated[float, Bounds(0, 100, above=True)] = 0.2
    paints: str = ""
    feather: Annotated[float, Bounds(0, 1000)] = 3.0
    grain: bool = True
    background_lesion: Literal["keep", "remove", "restyle", "replace"] = "keep"
    backgrounds: str = ""
    lesions: str = ""
    model: str = ""
    revision: str = ""
    prompts: str = ""

    def recorded(self) -> dict[str, Any]:
        """What a manifest says of them: those that it does not tell otherwise, by content."""
        return {name: value for name, value in asdict(self).items() if name not in _TOLD_OTHERWISE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inpainter == "copy_paste" and (self.model or self.revision):
            raise SyndiffError(
                f"synthesis settings: model={self.model!r} and revision={self.revision!r} have no effect with "
                "copy_paste; leave them out or set inpainter to compact or sdxl."
            )
        if self.inpainter == "copy_paste" and self.background_lesion != "keep":
            raise self.refuse("background_lesion", "keep: copy_paste moves real lesions and paints nothing from text")
        if self.inpainter == "compact" and self.revision:
            raise SyndiffError(
                f"synthesis settings: revision={self.revision!r} has no effect with compact, whose model is a folder; "
                "leave it out."
            )
        if self.backgrounds and self.background_lesion != "keep":
            raise SyndiffError(
                f"synthesis settings: background_lesion={self.background_lesion!r} has no effect on the frames in "
                f"backgrounds={self.backgrounds!r}, which have no lesion; leave one of the two out."
            )
        if self.lesions and self.background_lesion == "restyle":
            raise SyndiffError(
                f"synthesis settings: lesions={self.lesions!r} has no effect with background_lesion=restyle, which "
                "keeps the shape of every frame's own lesion; leave one of the two out."
            )
