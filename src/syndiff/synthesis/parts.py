"""One synthesis by many workers: parts of its attempts, made anywhere, are taken over in their order.

Attempt i depends on the seed and i alone, so it does not matter who makes it. A part is a few whole batches in a folder
of its own within that of the synthesis; a part whose worker died goes on where it stopped.
"""

import contextlib
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count as count_from
from itertools import islice, takewhile
from pathlib import Path

from syndiff.errors import SyndiffError
from syndiff.files import empty
from syndiff.synthesis.manifest import Sample, SynthesisFolder, claimed_folder, sample_id
from syndiff.synthesis.studio import Studio
from syndiff.workers.cluster import on_ray
from syndiff.workers.settings import Ray

FOLDER = ".syndiff-parts"
"""In a synthetic folder: parts that are not taken over yet."""

_PARTS, _BATCHES = 64, 32  # a synthesis has so many parts or more, unless a part would have more than so many batches
_AHEAD = 4  # parts that are handed out for each that runs, but _PARTS at least: a cluster may grow to do them


@dataclass(frozen=True)
class Part:
    """The attempts from `first` up to `stop`, which lie in `folder`."""

    folder: Path
    first: int
    stop: int


@dataclass(frozen=True)
class Spread:
    """The attempts of a synthesis, made on a Ray cluster; `make` makes a part in a worker, by `make_part`."""

    ray: Ray
    make: Callable[[Part], Part]

    def attempts(
        self, root: Path, done: int, stop: int, *, count: int, batch_size: int
    ) -> Generator[tuple[Sample, SynthesisFolder], None, None]:
        """The attempts from `done` up to `stop`, in order, each with the folder that its pictures lie in.

        They are those of `Studio.attempts`. The caller holds the synthesis' folder `root`, for `count` samples.
        """
        size = batch_size * min(_BATCHES, max(1, count // (_PARTS * batch_size)))
        starts = takewhile(lambda first: first < stop, count_from(done - done % size, size))
        parts = (Part(root / FOLDER / sample_id(first), first, min(first + size, stop)) for first in starts)
        with (
            on_ray(self.ray, root) as workers,
            contextlib.closing(workers.map(self.make, parts, ahead=max(_PARTS, _AHEAD * workers.at_once))) as made,
        ):
            for part in made:
                folder = SynthesisFolder(part.folder)
                samples = list(islice(folder, part.stop - part.first))
                for sample in samples[max(0, done - part.first) :]:
                    yield sample, folder
                shutil.rmtree(part.folder)


def make_part(studio: Studio, part: Part) -> Part:
    """Make a part, or go on. What lies in its folder from a synthesis with other settings is removed."""
    with claimed_folder(part.folder) as folder:
        try:
            there = _there(folder, studio, part.first)
        except SyndiffError:
            there = 0
            empty(part.folder)
        folder.begin()
        for sample, pictures in studio.attempts(part.first + there, part.stop):
            folder.add(sample, pictures)
    return part


def _there(folder: SynthesisFolder, studio: Studio, first: int) -> int:
    """How many attempts are there. Raises SyndiffError where they are others than `studio` would make."""
    there = 0
    for there, sample in enumerate(folder, 1):
        studio.check_made_alike(sample, folder.manifest)
        if sample.id != sample_id(first + there - 1):
            raise SyndiffError(f"{folder.manifest} holds {sample.id} in place of {sample_id(first + there - 1)}.")
        folder.check_pictures(sample)
    return there
