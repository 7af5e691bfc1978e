"""The account of a synthetic folder: how many samples passed, what refused the others, and what to mend."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from syndiff.bounds import fits
from syndiff.documents import OWN, check_object
from syndiff.errors import SyndiffError, shown
from syndiff.files import write_json
from syndiff.synthesis.gates.gate import REAL, REVIEWED, Bounds
from syndiff.synthesis.manifest import Sample

_MENDS = {
    "seam": "paint with a wider synthesis.feather or an inpainter that keeps to the frame's colours",
    "sharpness": "use an inpainter that works at the frame's own resolution",
    "noise": "use an inpainter that keeps the frame's grain",
    "contrast": "ask for a visible lesion in the prompt, or teach the inpainter your lesions",
    "near_copy": "teach the inpainter with fewer steps or more cases: it has learned single cases by heart",
    "agreement": "look at the rejected pictures: the lesion leaves its mask, or the segmenter is weak",
    "text_image": "raise the guidance of the inpainter, or word the prompts as the captions are worded",
}
"""What to try when a gate refuses most samples."""


@dataclass
class _Scores:
    """A gate's bounds and what it said of all samples, in constant memory."""

    low: float | None
    high: float | None
    scored: int = 0
    outside: int = 0
    lowest: float | None = None
    highest: float | None = None

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.low, self.high, 0)

    def add(self, score: float) -> None:
        self.scored += 1
        self.outside += not self.bounds.hold(score)
        self.lowest = score if self.lowest is None else min(self.lowest, score)
        self.highest = score if self.highest is None else max(self.highest, score)


@dataclass
class Acceptance:
    """Counts over a manifest, which alone they come from: it keeps the bounds of its gates.

    `reasons` count each refused sample once, by the first gate that refused it.
    """

    accepted: int = 0
    attempts: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    mode: str = "off"
    drawn_from: str = REAL
    scores: dict[str, _Scores] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> "Acceptance":
        """Count, one sample at a time."""
        account = cls()
        for sample in samples:
            if not account.attempts:
                account.mode, account.drawn_from, account.scores = _gates_of(sample)
            account.attempts += 1
            account.accepted += sample.accepted
            if sample.reason:
                account.reasons[sample.reason] += 1
            for name, scores in account.scores.items():
                score = sample.gates.get(name)
                if score is not None:
                    scores.add(score)
        return account

    def write(self, path: Path) -> None:
        """Write acceptance.json."""
        write_json(
            path,
            {
                "attempts": self.attempts,
                "accepted": self.accepted,
                "rate": round(self.accepted / self.attempts, 4) if self.attempts else None,
                "reasons": dict(self.reasons.most_common()),
                "mode": self.mode,
                "gates": {name: {"real": str(scores.bounds)} | vars(scores) for name, scores in self.scores.items()},
            },
        )

    def table(self) -> str:
        """The account in lines of text: acceptance, then a line for each gate, then for each other reason."""
        rate = f" ({self.accepted / self.attempts:.0%})" if self.attempts else ""
        lines = [f"{self.accepted} of {self.attempts} attempts accepted{rate}"]
        if self.scores:
            lines.append(f"  {'gate':12} {self.drawn_from:26} {'samples':26} out of bounds")
        for name, scores in self.scores.items():
            found = "-" if scores.lowest is None else f"from {scores.lowest:.3g} to {scores.highest:.3g}"
            lines.append(f"  {name:12} {scores.bounds!s:26} {found:26} {scores.outside} of {scores.scored}")
        lines += [f"  {count} x {reason}" for reason, count in self.reasons.most_common() if reason not in self.scores]
        return "\n".join(lines)

    def mend(self) -> str:
        """One sentence on the commonest refusal by a gate: its scores, its bounds, and what to try."""
        named = [(name, count) for name, count in self.reasons.most_common() if name in self.scores]
        if not named:
            return ""
        name, count = named[0]
        scores = self.scores[name]
        return (
            f"The gate {name} refused most ({count}): the samples score from {scores.lowest:.3g} to "
            f"{scores.highest:.3g}, {self.drawn_from} {scores.bounds}. To mend it, {_MENDS[name]}; or keep every "
            "sample and only score it (--set gates.mode=report). "
        )


def _gates_of(sample: Sample) -> tuple[str, str, dict[str, _Scores]]:
    """The gates' mode, what their bounds come from, and the bounds, as a sample's line tells them."""
    where = f"{sample.id} in manifest.jsonl: settings.gates"
    gates = check_object(where, sample.setting("gates"), {"mode": str})
    bounds = check_object(where, gates, {"bounds": dict})["bounds"] if "bounds" in gates else {}
    pairs = {name: tuple(each) if isinstance(each, list) else each for name, each in bounds.items()}
    if not all(fits(pair, tuple[float | None, float | None]) for pair in pairs.values()):
        raise SyndiffError(f"{where}: bounds is {shown(bounds)}, expected two numbers for each gate. {OWN}")
    drawn_from = REVIEWED if "reviews" in gates else REAL
    return gates["mode"], drawn_from, {name: _Scores(*pair) for name, pair in pairs.items()}
