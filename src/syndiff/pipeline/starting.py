"""The inpainter that an adaptation starts from: another centre's, or an own one that learned smaller crops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.files import sha256
from syndiff.models.inpainter import InpaintingModel, load_inpainter
from syndiff.models.settings import InpaintingSettings
from syndiff.models.stored import learned_from, read_description
from syndiff.pipeline.factories import compact_checkpoint
from syndiff.pipeline.provenance import START, check_history, run_of


@dataclass(frozen=True)
class Start:
    """The best checkpoint of a run folder of `syndiff adapt`, loaded.

    `about` tells its weights by their hash, and what they learned from.
    """

    checkpoint: Path
    run: Path
    model: InpaintingModel
    about: Mapping[str, Any]

    @classmethod
    def open(cls, given: str, split: Split) -> Self:
        """Of the run folder `given`.

        Raises SyndiffError for one that has seen cases which `split` keeps from training, or where that cannot be told.
        """
        checkpoint = compact_checkpoint(given).resolve()
        run = run_of(checkpoint)
        if run is None:
            raise SyndiffError(
                f"--model {given} is not in the run folder that it was taught in, whose split.json names the cases "
                "that it has seen. Give the whole run folder of `syndiff adapt`."
            )
        learned = learned_from(checkpoint, read_description(checkpoint, {}))
        check_history(f"--model: the inpainter {given}", run, learned, split)
        about = {"hash": sha256(checkpoint / "model.safetensors"), "learned_from": learned}
        return cls(checkpoint, run, load_inpainter(checkpoint), about)

    def settings(self, chosen: Settings) -> InpaintingSettings:
        """Its own, but for the size of the crops where that was chosen; all else its weights have settled."""
        check_use(chosen, "adapt --model")
        if "inpainter.crop_size" in chosen.chosen:
            return replace(self.model.settings, crop_size=chosen.inpainter.crop_size)
        return self.model.settings

    def vocabulary(self, words: Sequence[str]) -> list[str]:
        """Its words, then the others of `words`."""
        return [*self.model.vocabulary, *(word for word in words if word not in self.model.vocabulary)]

    def keep_splits(self, out: Path) -> None:
        """Write the splits that name the cases which it, and what it started from, have seen into the run `out`."""
        there, here = self.run, out / START
        while (there / "split.json").is_file():
            here.mkdir(exist_ok=True)
            Split.read(there / "split.json").write(here / "split.json")
            there, here = there / START, here / START
