"""What a user says about an import, and for which formats it means anything."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from syndiff.errors import SyndiffError, listed

Format = Literal["nnunet", "coco", "labelme", "cvat", "via", "masks"]
Exif = Literal["auto", "turned", "stored"]

_ONLY: dict[str, tuple[Format, ...]] = {
    "images": ("coco", "labelme", "cvat", "via"),
    "label_attribute": ("via",),
    "masks": ("masks",),
    "mask_suffix": ("masks",),
    "colours": ("masks",),
    "threshold": ("masks",),
}


@dataclass(frozen=True)
class ImportSettings:
    """How annotations are read; an option that the format has no use for is refused.

    `classes` and `colours` are texts as typed, parsed by their owners. `threshold` is the grey value above which a
    mask is foreground. `exif` says whether annotations of pictures with an EXIF orientation belong to the turned or to
    the stored picture. With `flatten` what is drawn last covers what lies under it; with `skip` cases that cannot be
    taken are left out and named.
    """

    format: Format
    images: Path | None = None
    classes: str = ""
    flatten: bool = False
    group_pattern: str = ""
    groups: str = ""
    label_attribute: str = ""
    masks: Path | None = None
    mask_suffix: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    threshold: int | None = None
    exif: Exif = "auto"
    skip: bool = False

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise SyndiffError(f"--from {self.format} is unknown. Known are {', '.join(get_args(Format))}.")
        for item in fields(self):
            only = _ONLY.get(item.name)
            if only and self.format not in only and getattr(self, item.name) != item.default:
                raise SyndiffError(
                    f"--{item.name.replace('_', '-')} means nothing with --from {self.format}; it is for "
                    f"{listed(only)}. Leave it out."
                )
        if self.threshold is not None and not 0 <= self.threshold < 65535:
            raise SyndiffError(f"--threshold is {self.threshold}; expected a grey value from 0 to 65534.")
        if self.threshold is not None and self.colours:
            raise SyndiffError(
                "--threshold and --colours are both given; a mask is read by its grey or by its colours."
            )
        if self.groups and self.group_pattern:
            raise SyndiffError("--groups and --group-pattern are both given; groups come from one of them.")
