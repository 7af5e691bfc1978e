"""Cases that a training has beside the real ones: of a synthetic set that is made once, or of another dataset."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.documents import digest
from syndiff.errors import SyndiffError
from syndiff.files import expanded, sha256
from syndiff.pipeline.adaptation import adapt_compact
from syndiff.pipeline.early import check_adaptation, check_synthesis
from syndiff.pipeline.factories import compact_checkpoint, make_gates, make_inpainter
from syndiff.pipeline.provenance import check_elsewhere, check_gate_segmenter, check_inpainter, open_synthetic
from syndiff.studies.shared import once
from syndiff.studies.training import Training
from syndiff.synthesis.engine import check_prompts, synthesize_cases
from syndiff.synthesis.inpainters.other_noise import OtherNoise
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.placement.elsewhere import lesion_free, open_lender
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.prompts.variants import Variant, VariantGrammar
from syndiff.synthesis.settings import SynthesisSettings

log = logging.getLogger("syndiff")


@dataclass(frozen=True)
class Adaptation:
    """The shared step that teaches a compact inpainter the training cases of a split."""

    study: Path
    data: Path
    split: Split
    settings: Settings
    seed: int
    name: str = "inpainter"

    @property
    def folder(self) -> Path:
        """The inpainter's run folder."""
        return self.study / self.name

    def decides(self) -> dict[str, Any]:
        """Settings, cases and seed."""
        recorded = self.settings.recorded()
        return {
            **{section: recorded[section] for section in ("inpainter", "adapt")},
            "prompts": recorded["synthesis"]["prompts"],
            "split": self.split.hash,
            "seed": self.seed,
        }

    def make(self, folder: Path, *, progress: bool) -> None:
        """Adapt, or go on."""
        dataset = Dataset.open(self.data)
        adapt_compact(
            dataset,
            self.split,
            folder,
            grammar=Grammar.for_dataset(dataset, self.settings.synthesis.prompts),
            model_settings=self.settings.inpainter,
            settings=self.settings.adapt,
            seed=self.seed,
            progress=progress,
        )


@dataclass(frozen=True)
class SyntheticSet:
    """The shared step that synthesizes `count` cases from the training cases of a split.

    settings: of synthesis and gates; a `teacher` gives the model, a `judge` of real cases the gate `agreement`.
    least: fewer accepted cases are refused. variant: of its prompts. noise: added to the seed of each painting, whose
    place stays.
    """

    study: Path
    name: str
    data: Path
    split: Split
    settings: Settings
    count: int
    least: int
    seed: int
    teacher: Adaptation | None = None
    judge: Training | None = None
    variant: Variant = "own"
    noise: int = 0

    @property
    def folder(self) -> Path:
        """The synthetic dataset folder."""
        return self.study / self.name

    def decides(self) -> dict[str, Any]:
        """Settings, cases and seed, the weights of an inpainter from elsewhere, and how many are wanted."""
        return {**self.recipe(), "count": self.count}

    def recipe(self) -> dict[str, Any]:
        """What the first samples depend on, however many there are."""
        recorded = self.settings.recorded()
        used = {section: dict(recorded[section]) for section in ("synthesis", "gates", "compact", "sdxl")}
        model, elsewhere = used["synthesis"].pop("model"), _elsewhere(self.settings.synthesis)
        used["synthesis"] |= elsewhere
        if self.teacher:
            model = dict(self.teacher.decides())
        elif self.settings.synthesis.inpainter == "compact":
            model = sha256(compact_checkpoint(self.settings.synthesis.model) / "model.safetensors")
        judge = None
        if self.judge:
            used["gates"].pop("segmenter")
            judge = {name: value for name, value in self.judge.decides().items() if name != "side"}
        changed: dict[str, Any] = {"variant": self.variant} if self.variant != "own" else {}
        changed |= {"noise": self.noise} if self.noise else {}
        return {**used, "model": model, "judge": judge, "split": self.split.hash, "seed": self.seed, **changed}

    def make(self, folder: Path, *, progress: bool) -> None:
        """Make what the set needs, then the set, or go on."""
        settings, dataset = self.settings, Dataset.open(self.data)
        if self.teacher:
            taught = str(once(self.teacher, progress=progress))
            settings = replace(settings, synthesis=replace(settings.synthesis, model=taught))
        if self.judge:
            self.judge.train(progress=progress)
            trained = str(self.study / self.judge.name)
            settings = replace(settings, gates=replace(settings.gates, segmenter=trained))
        inpainter = make_inpainter(settings)
        if self.noise:
            inpainter = OtherNoise(inpainter, self.noise)
        grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
        segmenter = check_gate_segmenter(settings, self.split, dataset)
        summary = synthesize_cases(
            dataset,
            self.split.train,
            inpainter,
            folder,
            settings.synthesis,
            count=max(self.count, _accepted(folder)),
            least=self.least,
            seed=self.seed,
            grammar=VariantGrammar.of(grammar, self.variant),
            gates=make_gates(settings, inpainter, dataset, self.split, folder, segmenter, progress=progress),
            progress=progress,
        )
        log.info(f"{self.name}: {summary}")
        if summary.accepted < self.count:
            log.warning(f"{self.name}: only {summary.accepted} of {self.count} synthetic cases were accepted")


def _elsewhere(settings: SynthesisSettings) -> dict[str, str]:
    """Frames and lesions of other folders by their content, "" where there are none."""
    frames = lesion_free(expanded(settings.backgrounds)) if settings.backgrounds else []
    lender = open_lender(expanded(settings.lesions)) if settings.lesions else None
    return {
        "backgrounds": digest([(frame.id, sha256(frame.image), frame.group) for frame in frames]) if frames else "",
        "lesions": lender.fingerprint() if lender else "",
    }


def _accepted(folder: Path) -> int:
    """Cases of a set that was begun, perhaps for a larger number."""
    manifest = folder / "manifest.jsonl"
    return sum(sample.accepted for sample in read_manifest(manifest)) if manifest.is_file() else 0


@dataclass(frozen=True)
class FirstOf:
    """The first `count` cases of a synthetic set: smaller numbers are parts of larger ones.

    exactly: fewer in the set are refused; else what there is is taken.
    """

    source: SyntheticSet
    count: int
    exactly: bool = False

    def decides(self) -> dict[str, Any]:
        """The set's recipe, and how many of it."""
        return {**self.source.recipe(), "count": self.count}

    def make(self, *, progress: bool) -> None:
        """Make the set."""
        once(self.source, progress=progress)

    def cases(self, dataset: Dataset, split: Split) -> tuple[Dataset, Sequence[str]]:
        """Where they lie, and which of them."""
        folder = open_synthetic(self.source.folder, split, dataset)
        if self.exactly and len(folder.cases) < self.count:
            raise SyndiffError(
                f"{self.source.folder} has {len(folder.cases)} accepted cases, {self.count} are wanted; give at most "
                f"--counts {len(folder.cases)}, or looser gates in another --out. Its synthesis.html, or the reasons "
                "in its manifest.jsonl, say what was refused."
            )
        return folder, [case.id for case in folder.cases[: self.count]]


@dataclass(frozen=True)
class RealCases:
    """`count` real cases of another dataset, whose files have this `fingerprint`, drawn by the split's seed."""

    folder: Path
    fingerprint: str
    count: int

    def decides(self) -> dict[str, Any]:
        """That dataset's files, and how many of it."""
        return {"dataset": self.fingerprint, "count": self.count}

    def make(self, *, progress: bool) -> None:
        """Nothing: they are there."""

    def cases(self, dataset: Dataset, split: Split) -> tuple[Dataset, Sequence[str]]:
        """Where they lie, and which of them."""
        other = Dataset.open(self.folder)
        names = sorted(case.id for case in other.cases)
        return other, np.random.default_rng(split.seed).permutation(names).tolist()[: self.count]


def check_set(dataset: Dataset, split: Split, settings: Settings, *, seed: int, adapts: bool, fetch: bool) -> None:
    """Raise SyndiffError for a set that could not be made from this split with these settings.

    With `adapts` its inpainter is still to be taught; `fetch` says whether weights may be downloaded.
    """
    grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
    check_elsewhere(settings, split, dataset)
    if adapts:
        check_adaptation(dataset, split, grammar, settings.inpainter, fetch=fetch)
        check_synthesis(dataset, split, settings, None, seed=seed)
        return
    inpainter = make_inpainter(settings)
    inpainter.describe()  # looks for its weights now, not after a training
    check_prompts(grammar, inpainter)
    check_inpainter(settings, split, dataset)
    check_gate_segmenter(settings, split, dataset)
    check_synthesis(dataset, split, settings, inpainter, seed=seed)


def settings_of_set(settings: Settings, chosen: Mapping[str, Any], *, gated: bool) -> Settings:
    """Settings of a synthesis with `chosen` ones of the section synthesis; without gates where it is not `gated`."""
    gates = settings.gates if gated else replace(settings.gates, mode="off", segmenter="", text_model="")
    return replace(settings, synthesis=replace(settings.synthesis, **chosen), gates=gates, chosen=frozenset())
