"""`syndiff review ...`: what stands in a file of reviews, and its exchange as a table."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from syndiff.cli.common import say


@dataclass(kw_only=True)
class ReviewSummary:
    """Count what was accepted, rejected and corrected, and say how far the reviewers agree."""

    reviews: Path
    """File of reviews."""

    def run(self) -> None:
        """Count and print."""
        from syndiff.reviews.store import ReviewStore
        from syndiff.reviews.summary import summary

        with ReviewStore(self.reviews, read_only=True) as store:
            say(summary(store.events()))


@dataclass(kw_only=True)
class ReviewExport:
    """Write all reviews as CSV, and the corrected masks into a folder beside it."""

    reviews: Path
    """File of reviews."""
    out: Path
    """CSV file to write; an earlier table of reviews there is replaced."""

    def run(self) -> None:
        """Write and count."""
        from syndiff.reviews.store import ReviewStore
        from syndiff.reviews.table import export_reviews

        with ReviewStore(self.reviews, read_only=True) as store:
            say(f"{export_reviews(store, self.out)} events written to {self.out}")


@dataclass(kw_only=True)
class ReviewImport:
    """Add the reviews of a table that `syndiff review export` wrote; those that are there already are left alone."""

    table: Annotated[Path, tyro.conf.Positional]
    """CSV file, with the folder of corrected masks beside it."""
    reviews: Path
    """File of reviews to add to; a new one is made."""

    def run(self) -> None:
        """Add and count."""
        from syndiff.reviews.store import ReviewStore
        from syndiff.reviews.table import import_reviews, read_reviews

        read_reviews(self.table)  # what is refused comes before a file is made
        with ReviewStore(self.reviews) as store:
            added, total = import_reviews(store, self.table)
        there = f"; {total - added} were there already" if added < total else ""
        say(f"{added} of {total} events added to {self.reviews}{there}")


@dataclass(kw_only=True)
class Review:
    """Reviews of cases: summary, export and import."""

    verb: (
        Annotated[ReviewSummary, tyro.conf.subcommand("summary")]
        | Annotated[ReviewExport, tyro.conf.subcommand("export")]
        | Annotated[ReviewImport, tyro.conf.subcommand("import")]
    ) = field()

    def run(self) -> None:
        """Run the chosen verb."""
        self.verb.run()
