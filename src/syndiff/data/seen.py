"""What a model has seen, picture by picture, so that it is judged on nothing else.

A picture is known by its content (`Dataset.content`): a copy under another name, in another folder or in another
lossless format is the same picture. `seen.json` lies in the folder of everything that learns or is painted and is
carried along: from an inpainter to what it paints, from there to the segmenter that is trained on it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from syndiff.data.dataset import Dataset
from syndiff.documents import read_object
from syndiff.files import write_record

FILE = "seen.json"


@dataclass(frozen=True)
class Seen:
    """Pictures by content, each with a name for people: those learned from, those that a checkpoint was chosen on."""

    learned: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset, learned: Iterable[str], chosen: Iterable[str] = ()) -> Self:
        """The pictures of these cases; every one is decoded."""
        return cls(_named(dataset, learned), _named(dataset, chosen))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What lies in `folder`; None where it was made before such files were kept."""
        path = folder / FILE
        if not path.is_file():
            return None
        content = read_object(path, {"learned": dict, "chosen": dict})
        return cls(content["learned"], content["chosen"])

    def write(self, folder: Path) -> None:
        """Keep it in `folder`."""
        write_record(
            folder / FILE, {"learned": dict(sorted(self.learned.items())), "chosen": dict(sorted(self.chosen.items()))}
        )

    def __or__(self, other: "Seen | None") -> "Seen":
        if other is None:
            return self
        return Seen({**other.learned, **self.learned}, {**other.chosen, **self.chosen})

    def among(self, dataset: Dataset, cases: Iterable[str]) -> list[str]:
        """Those of `cases` whose picture was seen, each with the name that it was seen under."""
        seen = {**self.chosen, **self.learned}
        found = ((case, seen.get(dataset.content(dataset[case]))) for case in cases)
        return [f"{case} = {name}" for case, name in found if name is not None]


def _named(dataset: Dataset, cases: Iterable[str]) -> dict[str, str]:
    return {dataset.content(dataset[case]): f"{dataset.name}: {case}" for case in sorted(cases)}
