"""What a folder of predictions holds, on record: predicting goes on where it stopped, and nobody's work is lost.

`predictions.jsonl` begins with a line of what makes the masks (weights and settings); then comes a line for each mask,
with the checksums of the image that it was made from and of the mask itself. The line is written after the mask.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syndiff.documents import check_object, differences, read_objects
from syndiff.errors import SyndiffError
from syndiff.files import append_json, drop_cut_line, sha256, write_bytes

NAME = "predictions.jsonl"
_FORMAT = 1


@dataclass(frozen=True)
class Made:
    """Checksums of a mask's content and of the image that it was made from."""

    image: str
    mask: str


class Journal:
    """The record of a folder of predictions; the caller holds the folder (`files.claimed`).

    `origin` is all that masks depend on besides their images. Raises SyndiffError for a folder whose masks have another
    origin, showing both values, and for a damaged record; a last line that a kill cut short is dropped.
    """

    def __init__(self, folder: Path, origin: dict[str, Any]) -> None:
        self._folder, self._path = folder, folder / NAME
        self._origin = {"format": _FORMAT, **origin}
        self._made: dict[str, Made] = {}
        self._begun = False
        if self._path.exists():
            drop_cut_line(self._path)
            self._read()

    def _read(self) -> None:
        for number, line in enumerate(read_objects(self._path, {}), 1):
            where = f"{self._path}, line {number}"
            if number == 1:
                self._check_origin(check_object(where, line, {"format": int}))
            else:
                check_object(where, line, {"image": str, "image_sha256": str, "mask": str, "mask_sha256": str})
                self._made[line["mask"]] = Made(image=line["image_sha256"], mask=line["mask_sha256"])
            self._begun = True

    def _check_origin(self, there: dict[str, Any]) -> None:
        changed = differences(there, self._origin)
        if changed:
            raise SyndiffError(
                f"{self._folder} holds masks that were made otherwise: {changed}. Give another folder as --out, or the "
                "same run and settings as before."
            )

    def is_made(self, mask: str, image_sha256: str) -> bool:
        """Whether this mask was made from an image of this content, whatever became of the mask since."""
        return mask in self._made and self._made[mask].image == image_sha256

    def state(self, mask: str) -> str:
        """What lies under the name of a mask: "nothing", "ours" as it was written, or "foreign" (changed, not ours)."""
        path = self._folder / mask
        if not os.path.lexists(path):
            return "nothing"
        made = self._made.get(mask)
        return "ours" if made and path.is_file() and sha256(path) == made.mask else "foreign"

    def keep(self, mask: str, content: bytes, *, image: str, image_sha256: str) -> bool:
        """Write a mask and its line; False, and nothing written, where something foreign lies under its name.

        A mask of the same content is none: it was written just before a kill, which came before its line.
        """
        path, checksum = self._folder / mask, hashlib.sha256(content).hexdigest()
        if self.state(mask) == "foreign" and not (path.is_file() and sha256(path) == checksum):
            return False
        if not self._begun:
            append_json(self._path, self._origin)
            self._begun = True
        write_bytes(path, content)
        line = {"image": image, "image_sha256": image_sha256, "mask": mask, "mask_sha256": checksum}
        append_json(self._path, line)
        self._made[mask] = Made(image=image_sha256, mask=checksum)
        return True
