"""Which settings each stage of `syndiff run` uses: those of a stage that has not begun may still change."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from syndiff.report.arms import CONTROL, GAP, INPAINTER, SYNTHETIC
from syndiff.synthesis.manifest import read_manifest


@dataclass(frozen=True)
class Stage:
    """The settings that a stage uses (section or section.name), and whether it has begun in a run folder."""

    uses: tuple[str, ...]
    begun: Callable[[Path], bool]


def _accepted(run: Path) -> bool:
    """Whether a synthetic case was accepted: attempts that were all refused are made again under other settings."""
    manifest = run / SYNTHETIC / "manifest.jsonl"
    return manifest.is_file() and any(sample.accepted for sample in read_manifest(manifest))


SYNTHESIS = ("synthesis", "gates", "compact", "sdxl")
STAGES = (
    Stage(("split", "seed"), lambda run: (run / "split.json").is_file()),
    Stage(
        ("model", "training", "augmentation", "run.minutes"),
        lambda run: (run / "plan.json").is_file() or (run / CONTROL / "config.yaml").is_file(),
    ),
    Stage(
        ("inpainter", "adapt", *(f"synthesis.{name}" for name in ("inpainter", "paints", "model", "prompts"))),
        lambda run: (run / INPAINTER / "config.yaml").is_file(),
    ),
    Stage(SYNTHESIS, _accepted),
    Stage(("run.gap_steps",), lambda run: (run / GAP).is_dir()),
    Stage(("run.tolerance",), lambda run: any(run.glob("*/eval/*/summary.json"))),
)
IDENTIFIED = (
    *("synthesis.model", "synthesis.backgrounds", "synthesis.lesions", "synthesis.prompts"),
    *("gates.segmenter", "gates.text_model", "sdxl.loras"),
)
"""Settings that name a folder or a file whose content manifest.jsonl and gates.json identify: it may be moved."""


def may_change(run: Path) -> Callable[[str], bool]:
    """Which settings (section.name) of the run folder `run` no stage has used yet."""
    used = [name for stage in STAGES if stage.begun(run) for name in stage.uses]
    return lambda name: not any(is_of(name, (each,)) for each in used)


def is_of(name: str, sections: tuple[str, ...]) -> bool:
    """Whether a setting is one of `sections` (section or section.name)."""
    return name in sections or name.split(".")[0] in sections


def set_aside(folder: Path) -> Path:
    """Rename a folder whose attempts were all refused, so that another try has its name; returns where it lies."""
    number = 1
    while (other := folder.with_name(f"{folder.name}-refused-{number}")).exists():
        number += 1
    return folder.rename(other)
