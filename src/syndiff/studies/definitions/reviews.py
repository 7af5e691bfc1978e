"""`syndiff study reviews`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from syndiff.errors import SyndiffError
from syndiff.studies.choices import Rule
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Study

if TYPE_CHECKING:
    from syndiff.config.uses import Use


@dataclass(kw_only=True)
class Reviews(Study, Configured):
    """Whether reviews come back: a scripted reviewer with a known rule, and rounds of synthesis that hear it or not."""

    name = "reviews"

    data: Path
    """Dataset folder."""
    rule: Rule = "blurred"
    """What the reviewer rejects: lesions more blurred, or of another colour, than real ones usually are."""
    rounds: int = 3
    """Rounds of synthesis and review."""
    count: int = 40
    """Samples a round that pass the gates."""
    inpainter: Literal["compact", "copy_paste"] = "compact"
    """compact is taught anew each round; with copy_paste the gates alone hear the reviews."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use

        without = ("share", "model", "revision", "backgrounds", "lesions")
        return {
            "study reviews": Use(
                only=("synthesis", "gates", "compact", "inpainter", "adapt"),
                but=(*(f"synthesis.{name}" for name in without), "gates.mode", "gates.segmenter"),
            ),
            "study reviews without the inpainter compact": Use(but=("compact", "inpainter", "adapt")),
            "study reviews while adapt.minutes is above 0": Use(but=("adapt.steps",)),
        }

    def grid(self) -> Grid:
        settings = self.settings({"synthesis.inpainter": self.inpainter})
        compact = settings.synthesis.inpainter == "compact"
        if self.rounds < 2 or self.count < 1:
            raise SyndiffError(
                f"--rounds {self.rounds} and --count {self.count}: expected 2 or more rounds of 1 or more samples."
            )

        from syndiff.config.uses import check_use
        from syndiff.data.inspection import open_checked
        from syndiff.pipeline.splitting import stored_split
        from syndiff.studies.reviews import Reviewing, Script, cells

        name, copied, timed = self.uses()
        timed_now = compact and settings.adapt.minutes > 0
        check_use(settings, name, None if compact else copied, timed if timed_now else None, uses=self.uses())
        dataset = open_checked(self.data, one_class_for="syndiff study reviews")
        split = stored_split(dataset, self.out / "split.json", method="auto", seed=self.seed)
        Script.learn(self.rule, dataset, split)
        first = Reviewing(self.out, self.data, settings, split, self.rule, self.count, self.seed, 1, True)
        config = {"study": self._about(), "data": str(self.data), "seed": self.seed, **settings.recorded()}
        return Grid(
            tuple(cells(first, self.rounds)),
            config,
            grows=("study.rounds",),
            splits={"split.json": split},
            shared=("an inpainter for each round",) if compact else (),
        )

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.reviews import conclude

        return conclude(found, self._about(), seed=self.seed)

    def _about(self) -> dict[str, object]:
        return {"rule": self.rule, "rounds": self.rounds, "count": self.count}
