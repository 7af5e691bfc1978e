"""The folder of images that was given at start: a list of files, and no path of a request among them."""

import hashlib
import os
from pathlib import Path, PurePath

from syndiff.data.listing import natural, printable
from syndiff.errors import SyndiffError
from syndiff.inference.formats.video import is_video
from syndiff.inference.inputs import Input, find_inputs
from syndiff.inference.serve.refusal import Refusal

PAGE = 200
"""Names that one answer holds."""


class ImageFolder:
    """Files of a folder and all below it in natural order, by an id that says nothing of their paths.

    Raises SyndiffError where there is no image.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refresh()

    def refresh(self) -> None:
        """List the folder again: files may have come or gone."""
        if not self.root.is_dir():
            raise SyndiffError(f"--images {self.root} is no folder; give a folder of images.")
        found = find_inputs(self.root, Path(os.devnull))  # nothing is written
        files = [each for each in found.files if not is_video(each.path)]
        files.sort(key=lambda each: [natural(part) for part in PurePath(each.source).parts])
        self._files = {hashlib.sha256(os.fsencode(each.source)).hexdigest()[:20]: each for each in files}

    def page(self, offset: int, text: str) -> dict[str, object]:
        """Ids and names of up to `PAGE` files whose names hold `text`, from `offset` on, and how many there are."""
        wanted = text.casefold()
        found = [(each, file) for each, file in self._files.items() if wanted in file.source.casefold()]
        names = [{"id": each, "name": printable(file.source)} for each, file in found[offset : offset + PAGE]]
        return {"total": len(found), "offset": offset, "items": names}

    def __getitem__(self, file_id: str) -> Input:
        """The file of an id. Raises Refusal (404) for an id that was not listed."""
        if file_id not in self._files:
            raise Refusal(404, "This image is not in the folder any more; list the folder again.")
        return self._files[file_id]
