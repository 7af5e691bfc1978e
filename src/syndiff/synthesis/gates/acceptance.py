"""The account of a synthetic folder: how many samples passed, what refused the others, and what to mend."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from syndiff.files import write_json
from syndiff.synthesis.gates.gate import Bounds
from syndiff.synthesis.gates.panel import Gates
from syndiff.synthesis.manifest import Sample


@dataclass
class _Scores:
    """What one gate said of all samples, in constant memory."""

    scored: int = 0
    outside: int = 0
    lowest: float | None = None
    highest: float | None = None

    def add(self, score: float, bounds: Bounds) -> None:
        self.scored += 1
        self.outside += not bounds.hold(score)
        self.lowest = score if self.lowest is None else min(self.lowest, score)
        self.highest = score if self.highest is None else max(self.highest, score)


@dataclass
class Acceptance:
    """Counts over a manifest. `reasons` count each refused sample once, by the first gate that refused it."""

    accepted: int = 0
    attempts: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    gates: Gates | None = None
    scores: dict[str, _Scores] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Iterable[Sample], gates: Gates | None) -> "Acceptance":
        """Count, one sample at a time."""
        account = cls(gates=gates, scores={gate.name: _Scores() for gate in gates.gates} if gates else {})
        for sample in samples:
            account.attempts += 1
            account.accepted += sample.accepted
            if sample.reason:
                account.reasons[sample.reason] += 1
            for name, scores in account.scores.items():
                score = sample.gates.get(name)
                if score is not None and gates is not None:
                    scores.add(score, gates.bounds[name])
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
                "mode": self.gates.settings.mode if self.gates else "off",
                "gates": {
                    name: {
                        "real": str(self._bounds(name)),
                        "low": self._bounds(name).low,
                        "high": self._bounds(name).high,
                    }
                    | vars(scores)
                    for name, scores in self.scores.items()
                },
            },
        )

    def table(self) -> str:
        """The account in lines of text: acceptance, then a line for each gate, then for each other reason."""
        rate = f" ({self.accepted / self.attempts:.0%})" if self.attempts else ""
        lines = [f"{self.accepted} of {self.attempts} attempts accepted{rate}"]
        if self.scores:
            lines.append(f"  {'gate':12} {'real lesions':26} {'samples':26} out of bounds")
        for name, scores in self.scores.items():
            found = "-" if scores.lowest is None else f"from {scores.lowest:.3g} to {scores.highest:.3g}"
            lines.append(f"  {name:12} {self._bounds(name)!s:26} {found:26} {scores.outside} of {scores.scored}")
        lines += [f"  {count} x {reason}" for reason, count in self.reasons.most_common() if reason not in self.scores]
        return "\n".join(lines)

    def mend(self) -> str:
        """One sentence on the commonest refusal by a gate: its scores, its bounds, and what to try."""
        named = [(name, count) for name, count in self.reasons.most_common() if name in self.scores]
        if not named or self.gates is None:
            return ""
        ((name, count),) = named[:1]
        gate = next(gate for gate in self.gates.gates if gate.name == name)
        scores = self.scores[name]
        return (
            f"The gate {name} refused most ({count}): the samples score from {scores.lowest:.3g} to "
            f"{scores.highest:.3g}, real lesions {self._bounds(name)}. To mend it, {gate.mend}; or keep every sample "
            "and only score it (--gates report)."
        )

    def _bounds(self, name: str) -> Bounds:
        assert self.gates is not None
        return self.gates.bounds[name]
