"""`syndiff study ablation`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from syndiff.errors import SyndiffError
from syndiff.studies.choices import SplitMethod
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Scored

if TYPE_CHECKING:
    from syndiff.config.settings import Settings
    from syndiff.config.uses import Use

Axis = Literal["encoder", "pretraining", "objective", "mask-loss", "lambda"]
REFERENCE = "reference"


@dataclass(kw_only=True)
class Ablation(Scored, Configured):
    """What each part of the segmenter is worth: one setting changed at a time, all else as in the reference."""

    name = "ablation"

    axes: tuple[Axis, ...] = get_args(Axis)
    """What is changed: encoder (frozen), pretraining (random weights), objective (the others), mask-loss (without it),
    lambda (a tenth, ten times)."""
    also: tuple[str, ...] = ()
    """Further single settings, such as model.norm=l2, each a level of its own."""
    split_method: SplitMethod = "auto"
    """How cases are divided; auto: by group where groups are known."""
    steps: int | None = None
    """Optimiser steps of every training; replaces training.steps."""
    repeats: int = 3
    """Trainings of every level, with seeds from --seed on."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use

        used = ("model", "training", "augmentation")
        return {"study ablation": Use(only=used, but=("model.kind", "training.real_share"))}

    def grid(self) -> Grid:
        settings = self.settings({"training.steps": self.steps})

        from syndiff.config.uses import check_use
        from syndiff.data.inspection import open_checked
        from syndiff.pipeline.early import check_segmenters
        from syndiff.pipeline.splitting import stored_split
        from syndiff.studies.training import Training, training_rate
        from syndiff.training.planning import Plan

        check_use(settings, *self.uses(), uses=self.uses())
        if self.repeats < 1 or len(set(self.axes)) < len(self.axes):
            raise SyndiffError(
                f"study ablation: found repeats={self.repeats} and axes={list(self.axes)}; expected 1 or more, and "
                "each axis once."
            )
        levels = self._levels(settings)
        dataset = open_checked(self.data)
        for chosen in levels.values():
            check_segmenters(chosen, ["diffusion"], fetch=not self.dry_run)
        split = stored_split(dataset, self.out / "split.json", method=self.split_method, seed=self.seed)
        plan = Plan(steps=settings.training.steps)
        trainings = [
            Training(self.out, f"cells/{_folder(arm)}/{seed}", arm, self.data, chosen, plan, split, seed, self.side)
            for seed in range(self.seed, self.seed + self.repeats)
            for arm, chosen in levels.items()
        ]
        recorded = settings.recorded()
        used = {section: recorded[section] for section in ("model", "training", "augmentation")}
        return Grid(
            tuple(training.cell() for training in trainings),
            {"data": str(self.data), "seed": self.seed, "study": {"split_method": self.split_method}, **used},
            splits={"split.json": split},
            rate=lambda: training_rate(trainings[:1]),
        )

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.table import conclude_arms

        return conclude_arms(found.tables(), REFERENCE, {"side": self.side, "seed": self.seed}, side=self.side)

    def _levels(self, settings: "Settings") -> "dict[str, Settings]":
        """The reference and every change of it, by name."""
        plain = replace(settings, chosen=frozenset())
        found = {REFERENCE: plain}
        for axis in self.axes:
            changes = {name: each for name, each in _changes(axis, settings).items() if _changed(plain, each) != plain}
            if not changes:
                raise SyndiffError(f"--axes {axis}: the reference has nothing of it to be changed; leave {axis} out.")
            found |= {name: _changed(plain, each) for name, each in changes.items()}
        for text in self.also:
            given = replace(self, set=(*self.set, text)).settings({"training.steps": self.steps})
            if text in found or replace(given, chosen=frozenset()) == plain:
                raise SyndiffError(f"--also {text} changes nothing, or stands twice; leave it out.")
            found[text] = replace(given, chosen=frozenset())
        if len(found) == 1:
            raise SyndiffError("study ablation: nothing is changed; give --axes or --also.")
        return found


def _changes(axis: Axis, settings: "Settings") -> dict[str, dict[str, Any]]:
    """Changed settings of an axis, as section.name, by the name of the level."""
    weight = settings.model.latent_weight
    noise = {"model.objective": "noise+latent", "model.zero_terminal_snr": False}
    changes: dict[Axis, dict[str, dict[str, Any]]] = {
        "encoder": {"encoder frozen": {"training.backbone_lr_scale": 0.0}},
        "pretraining": {
            "encoder from random weights": {
                "model.pretrained": False,
                "model.encoder_weights": "",
                "model.encoder_weights_revision": "",
            }
        },
        "objective": {
            "objective z0": {"model.objective": "z0"},
            "objective v": {"model.objective": "v"},
            "objective noise+latent": noise,
        },
        "mask-loss": {"without the loss on the mask": {"training.mask_weight": 0.0}},
        "lambda": {f"lambda {factor:g} times": {"model.latent_weight": factor * weight} for factor in (0.1, 10)},
    }
    return changes[axis]


def _changed(settings: "Settings", changes: Mapping[str, Any]) -> "Settings":
    """The settings of one section changed, at once."""
    (section,) = {name.partition(".")[0] for name in changes}
    values = {name.partition(".")[2]: value for name, value in changes.items()}
    return replace(settings, **{section: replace(getattr(settings, section), **values)})


def _folder(arm: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.+" else "-" for c in arm)
