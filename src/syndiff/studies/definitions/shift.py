"""`syndiff study shift`."""

from dataclasses import dataclass
from pathlib import Path

from syndiff.errors import SyndiffError
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Scored


@dataclass(kw_only=True)
class Shift(Scored):
    """How far synthetic cases are from real ones as their number grows, and what goes along with the Dice."""

    name = "shift"

    ratio: Path | None = None
    """Folder of a finished `syndiff study ratio`: its sets, numbers and split, and its Dice on --side."""
    synthetic: tuple[Path, ...] = ()
    """Synthetic dataset folders, in place of --ratio."""
    split: Path | None = None
    """Split JSON that they were made under."""
    counts: tuple[int, ...] = ()
    """With --synthetic: numbers of cases, the first ones of each folder; all of them if not given."""
    model: Path | None = None
    """Run folder of a trained segmenter whose encoder is used; ImageNet's weights if not given."""
    autoencoder: str = "compact"
    """Of the latent space: compact, a folder, or a hub id."""
    draws: int = 16
    """Divisions of the patients into halves that figures are means over."""

    def grid(self) -> Grid:
        if (self.ratio is None) == (not self.synthetic) or (self.synthetic == ()) != (self.split is None):
            raise SyndiffError(
                "study shift: expected either --ratio with the folder of a finished study, or --synthetic with one "
                "synthetic folder or more together with --split."
            )
        if self.draws < 2 or any(count < 1 for count in self.counts) or (self.ratio and self.counts):
            raise SyndiffError(
                f"study shift: found draws={self.draws} and counts={list(self.counts)}; expected 2 draws or more, and "
                "counts from 1 on, which with --ratio are those of the study."
            )

        from syndiff.data.inspection import open_checked
        from syndiff.data.splits import Split
        from syndiff.studies.shift import cells, parts_of_ratio, parts_of_sets

        dataset = open_checked(self.data, one_class_for="syndiff study shift")
        split = Split.read(self.ratio / "split.json" if self.ratio else self.split or Path())
        split.check(dataset)
        if self.ratio:
            parts = parts_of_ratio(self.ratio, self.side)
        else:
            parts = parts_of_sets(self.synthetic, self.counts, split, dataset)
        found = cells(
            *(self.out, dataset, split, parts),
            run=self.model,
            autoencoder=self.autoencoder,
            draws=self.draws,
            seed=self.seed,
            fetch=not self.dry_run,
        )
        return Grid(tuple(found), splits={"split.json": split}, shared=("features of the pictures",))

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.shift import parts_of_ratio
        from syndiff.studies.shift_words import conclude

        dice = {part.level: part.dice for part in parts_of_ratio(self.ratio, self.side)} if self.ratio else {}
        return conclude(found, {level: value for level, value in dice.items() if value is not None}, side=self.side)
