"""The end of a synthesis: the contact sheet, the tables, dataset.json, and an account of the attempts."""

from dataclasses import dataclass
from pathlib import Path

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.synthesis.gates.acceptance import Acceptance
from syndiff.synthesis.likeness import Likeness
from syndiff.synthesis.manifest import SynthesisFolder
from syndiff.synthesis.placement.album import Album
from syndiff.synthesis.placement.elsewhere import lesion_free
from syndiff.synthesis.sheet import comparison_sheet


@dataclass(frozen=True)
class SynthesisSummary:
    """What a synthetic dataset folder holds: samples accepted, attempts made, rejections by reason, and likeness.

    >>> copy_paste = syndiff.load_settings(values={"synthesis.inpainter": "copy_paste"})
    >>> summary = syndiff.synthesize("my-polyps", "synthetic", count=3, settings=copy_paste)
    >>> summary.accepted, summary.attempts - sum(summary.reasons.values())
    (3, 3)
    """

    out: Path
    account: Acceptance
    likeness: Likeness | None = None

    @property
    def accepted(self) -> int:
        """Accepted samples."""
        return self.account.accepted

    @property
    def attempts(self) -> int:
        """Attempts made, the rejected ones included."""
        return self.account.attempts

    @property
    def reasons(self) -> dict[str, int]:
        """Rejected samples by reason."""
        return dict(self.account.reasons)

    @property
    def table(self) -> str:
        """The account in lines of text: a line for each gate, and how like the real lesions the new ones are."""
        return self.account.table() + (f"\n{self.likeness.table()}" if self.likeness else "")

    def __str__(self) -> str:
        """One line for people."""
        rejected = ", ".join(f"{n} x {reason}" for reason, n in sorted(self.reasons.items())) or "none"
        return f"{self.accepted} of {self.attempts} attempts accepted in {self.out} (rejected: {rejected})"

    def check(self, count: int) -> None:
        """Raise SyndiffError when fewer than `count` samples were accepted."""
        if self.accepted < count:
            raise SyndiffError(
                f"Asked for {count} synthetic samples, got {self}. {self.account.mend()}The accepted ones can be used; "
                "for more, mend what the reasons name (the masks, the inpainter's settings) or ask for fewer."
            )


def finish(
    folder: SynthesisFolder,
    dataset: Dataset,
    inpainter: str,
    account: Acceptance,
    likeness: Likeness,
    *,
    backgrounds: str = "",
) -> None:
    """Complete a folder whose samples are all there: contact sheet, both accounts, tables, dataset.json."""
    frames = {case.id: case for case in lesion_free(Path(backgrounds))} if backgrounds else {}
    comparison_sheet(folder, Album(dataset, dataset.cases, tuple(frames.values())), folder.root / "contact_sheet.png")
    account.write(folder.root / "acceptance.json")
    likeness.write(folder.root)
    folder.finish(dataset, inpainter)
