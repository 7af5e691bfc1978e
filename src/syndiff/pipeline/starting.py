"""The inpainter that an adaptation starts from: another centre's, or an own one that learned smaller crops."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.files import read_json, sha256
from syndiff.models.inpainter import InpaintingModel, InpaintingSettings, load_inpainter
from syndiff.pipeline.painting import START, compact_checkpoint, refuse_leak, run_of
from syndiff.presets import Settings


@dataclass(frozen=True)
class Start:
    """The best checkpoint of a run folder of `syndiff adapt`, loaded."""

    checkpoint: Path
    run: Path
    model: InpaintingModel

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
        refuse_leak(f"the inpainter {given}", run, split)
        return cls(checkpoint, run, load_inpainter(checkpoint))

    def settings(self, chosen: Settings) -> InpaintingSettings:
        """Its own, but for the size of the crops where that was chosen; all else its weights have settled."""
        settled = (item.name for item in fields(InpaintingSettings) if item.name != "crop_size")
        chosen.refuse("adapt --model", *(f"painter.{name}" for name in settled))
        if "painter.crop_size" in chosen.chosen:
            return replace(self.model.settings, crop_size=chosen.painter.crop_size)
        return self.model.settings

    def vocabulary(self, words: Sequence[str]) -> list[str]:
        """Its words, then the others of `words`."""
        return [*self.model.vocabulary, *(word for word in words if word not in self.model.vocabulary)]

    def describe(self) -> dict[str, Any]:
        """The weights by their hash, and what they learned from."""
        told = read_json(self.checkpoint / "model.json")
        return {"hash": sha256(self.checkpoint / "model.safetensors"), "learned_from": told["learned_from"]}

    def keep_split(self, out: Path) -> None:
        """Copy what names the cases that it has seen, and those of what it started from itself, into the run `out`."""
        kept = out / START
        kept.mkdir(exist_ok=True)
        shutil.copy(self.run / "split.json", kept)
        if (self.run / START).is_dir():
            shutil.copytree(self.run / START, kept / START, dirs_exist_ok=True)
