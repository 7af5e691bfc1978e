"""What an inpainter can do and what it needs: asked by placement, prompts, gates and dry run, before it paints."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The same for every sample of a run.

    Attributes:
        margin: how far around the lesion it must paint, as a share of the lesion's radius (0: the label only).
        batch_size: how many requests it takes at once.
        copies: whether it pastes real lesions on purpose; nobody then looks for copies of training cases.
        paints_from_text: whether it follows the prompt, and so can paint without a donor: every way but `keep` needs
            that. Where it does not, the captions of its cases are measured on the pictures.
        reads_lesion_mask: whether it paints the lesion inside the request's `lesion` and healthy tissue in the rest of
            the mask.
        reads_captions: whether it learned its words from captions, so that prompts must be worded as these are, and
            reads no negative prompt.
        libraries: distributions whose version can change a pixel of the result.
    """

    margin: float = 0.0
    batch_size: int = 1
    copies: bool = False
    paints_from_text: bool = False
    reads_lesion_mask: bool = False
    reads_captions: bool = False
    libraries: tuple[str, ...] = ()
