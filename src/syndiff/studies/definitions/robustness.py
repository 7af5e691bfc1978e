"""`syndiff study robustness`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from syndiff.errors import SyndiffError
from syndiff.studies.grid import Cell, Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Scored

if TYPE_CHECKING:
    from syndiff.config.settings import Settings
    from syndiff.config.uses import Use


@dataclass(kw_only=True)
class Robustness(Scored, Configured):
    """What trained segmenters make of altered lesions: moved, shrunk, made paler, removed, all else kept to the bit."""

    name = "robustness"

    runs: tuple[Path, ...]
    """Run folders of `syndiff train`, or arms of `syndiff run`, of one split."""
    inpainter: Literal["copy_paste", "compact", "sdxl"] | None = None
    """What alters the frames: copy_paste, unless another is set, blends a frame's own lesion and needs no training."""
    model: str | None = None
    """For compact, the run folder of `syndiff adapt`; for sdxl, folder or hub id; replaces synthesis.model."""
    sizes: tuple[float, ...] = (0.7, 0.5)
    """Lengths of shrunk lesions, as shares of their own."""
    contrasts: tuple[float, ...] = (0.75, 0.5, 0.25)
    """Contrasts of paler lesions, as shares of their own."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use

        look = tuple(f"synthesis.{name}" for name in ("inpainter", "model", "revision", "feather", "grain", "prompts"))
        used = {"study robustness": Use(only=(*look, "compact", "sdxl"))}
        return used | {"study robustness with copy_paste": Use(but=("synthesis.prompts",))}

    def _settings(self) -> "Settings":
        chosen = self.settings({"synthesis.inpainter": self.inpainter})
        inpainter = chosen.synthesis.inpainter if "synthesis.inpainter" in chosen.chosen else "copy_paste"
        return self.settings({"synthesis.inpainter": inpainter, "synthesis.model": self.model})

    def grid(self) -> Grid:
        settings = self._settings()

        from syndiff.config.uses import check_use
        from syndiff.data.inspection import open_checked
        from syndiff.pipeline.factories import make_inpainter
        from syndiff.pipeline.provenance import check_inpainter
        from syndiff.studies.robustness import AlteredScoring, Altering, changes_of, folder_of
        from syndiff.studies.scoring import runs_of, same_split
        from syndiff.synthesis.engine import check_prompts
        from syndiff.synthesis.prompts.grammar import Grammar

        situations = [*self.uses()][: 2 if settings.synthesis.inpainter == "copy_paste" else 1]
        check_use(settings, *situations, uses=self.uses())
        for option, shares in (("--sizes", self.sizes), ("--contrasts", self.contrasts)):
            if len(set(shares)) < len(shares) or not all(0.1 <= share < 1 for share in shares):
                raise SyndiffError(
                    f"{option} {' '.join(map(str, shares))}: expected shares from 0.1 to below 1, each once."
                )
        dataset = open_checked(self.data, one_class_for="syndiff study robustness")
        runs = runs_of(self.runs)
        split = same_split(self.runs, dataset)
        inpainter, grammar = make_inpainter(settings), Grammar.for_dataset(dataset, settings.synthesis.prompts)
        check_prompts(grammar, inpainter)
        check_inpainter(settings, split, dataset)
        backend = {**inpainter.describe(), "prompts": grammar.describe()}
        changes = changes_of(self.sizes, self.contrasts)
        altering = Altering(self.out, self.data, split, self.side, settings, backend, changes, self.seed)
        cells = [
            Cell(
                str(change),
                run.short,
                f"cells/{run.short}/{folder_of(change)}",
                AlteredScoring(run, altering, change),
                tag=self.side,
            )
            for change in changes
            for run in runs
        ]
        return Grid(tuple(cells), shared=("the altered frames",))

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.robustness import conclude

        return conclude(
            found, {"side": self.side, "seed": self.seed, "inpainter": self._settings().synthesis.inpainter}
        )
