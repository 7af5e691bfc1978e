"""From training cases to a synthetic dataset folder, sample by sample, resumable at any moment."""

import importlib.metadata
import json
import logging
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from syndiff.data.dataset import Case, DatasetFolder
from syndiff.errors import SyndiffError
from syndiff.synthesis.compositing import composite
from syndiff.synthesis.fingerprint import fingerprint
from syndiff.synthesis.gates.acceptance import Acceptance
from syndiff.synthesis.gates.paint import failed_paint
from syndiff.synthesis.gates.panel import Gates
from syndiff.synthesis.gates.region import GateInput
from syndiff.synthesis.grammar import Grammar, Prompt
from syndiff.synthesis.inpainters.base import Inpainter, InpaintRequest
from syndiff.synthesis.manifest import PREFIX, Pictures, Sample, SynthesisFolder
from syndiff.synthesis.placement import Placement, PlacementRules, place

_LIBRARIES = ("syndiff", "numpy", "pillow", "scipy", "tifffile")


@dataclass(frozen=True)
class SynthesisSummary:
    """What a synthetic dataset folder holds: samples accepted, attempts made, rejections by reason."""

    out: Path
    accepted: int
    attempts: int
    reasons: dict[str, int]
    table: str = ""
    """The account in lines of text: a line for each gate with its bounds and the samples' scores."""

    def __str__(self) -> str:
        """One line for people."""
        rejected = ", ".join(f"{n} x {reason}" for reason, n in sorted(self.reasons.items())) or "none"
        return f"{self.accepted} of {self.attempts} attempts accepted in {self.out} (rejected: {rejected})"


def synthesize(
    dataset: DatasetFolder,
    case_ids: Iterable[str],
    inpainter: Inpainter,
    out: Path,
    *,
    count: int,
    seed: int = 0,
    feather: float = 3.0,
    rules: PlacementRules | None = None,
    grammar: Grammar | None = None,
    gates: Gates | None = None,
    progress: bool = True,
) -> SynthesisSummary:
    """Make `out` a dataset folder of `count` accepted synthetic cases, with a manifest of every attempt.

    Only the cases in `case_ids` (the training split) are read: frames, masks and lesions. Attempt i depends on
    `seed` and i alone. `feather` is the width in pixels over which painted pixels fade in at the mask's border.
    `grammar` words the prompts; None takes the pack of the dataset's class. `gates` judge every sample that did not
    fail technically; their bounds lie beside the samples in gates.json, and acceptance.json counts what was refused
    and why. Rejected samples lie under rejected/ with their reason in the manifest. Call it again to go on after a
    crash or to ask for more samples; the bytes are those of a run that was never interrupted. dataset.json is written
    last: a folder without it is unfinished.

    Raises SyndiffError for fewer than two cases, a folder made with other settings or holding other images, a
    dataset without lesions, prompts too long for the inpainter, and when 5 x count + 20 attempts did not give
    `count` accepted samples (the accepted ones are a complete dataset folder all the same).
    """
    cases = [dataset[case_id] for case_id in sorted(set(case_ids))]
    _check(cases, count, seed, feather)
    grammar = grammar or Grammar.for_dataset(dataset)
    studio = _Studio(dataset, cases, inpainter, seed, feather, rules or PlacementRules(), grammar, gates)
    folder = SynthesisFolder(Path(out))
    accepted, reasons = 0, Counter[str]()
    for sample in folder:
        studio.check_made_alike(sample, folder.manifest)
        accepted += sample.accepted
        reasons += Counter([sample.reason] if sample.reason else [])
    if accepted > count:
        raise SyndiffError(
            f"{out} already holds {accepted} accepted samples but count is {count}; "
            f"ask for at least {accepted} or synthesize into another folder."
        )
    if accepted < count:
        check_prompts(grammar, inpainter)
        folder.begin()
        if gates:
            gates.write(folder.root / "gates.json")
        bar = tqdm(total=count, initial=accepted, desc=inpainter.name, unit="sample", disable=not progress)
        with bar:
            for sample, pictures in studio.attempts(accepted + reasons.total(), 5 * count + 20):
                folder.add(sample, pictures)
                accepted += sample.accepted
                reasons += Counter([sample.reason] if sample.reason else [])
                bar.update(sample.accepted)
                bar.set_postfix(accepted=f"{accepted}/{accepted + reasons.total()}")
                if accepted == count:
                    break
    folder.finish(dataset, inpainter.name)
    account = Acceptance.of(folder, gates)
    account.write(folder.root / "acceptance.json")
    summary = SynthesisSummary(Path(out), accepted, accepted + reasons.total(), dict(reasons), account.table())
    if accepted < count:
        raise SyndiffError(
            f"Asked for {count} synthetic samples, got {summary}. {account.mend()} The accepted ones can be used; for "
            "more, mend what the reasons name (the masks, the inpainter's settings) or ask for fewer."
        )
    return summary


def check_prompts(grammar: Grammar, inpainter: Inpainter) -> None:
    """Raise SyndiffError when the inpainter could not read the longest prompts of a grammar, before any painting."""
    for text in grammar.longest(measured_only=inpainter.reads_captions):
        inpainter.check_prompt(text)


@dataclass(frozen=True)
class _Plan:
    """What an attempt will paint; made from the seed and the attempt's index alone."""

    index: int
    seed: int
    placement: Placement
    prompt: Prompt


class _Studio:
    """Plans, paints and judges; knows nothing of the folder it works for."""

    def __init__(
        self,
        dataset: DatasetFolder,
        cases: Sequence[Case],
        inpainter: Inpainter,
        seed: int,
        feather: float,
        rules: PlacementRules,
        grammar: Grammar,
        gates: Gates | None,
    ) -> None:
        self.dataset, self.cases, self.inpainter = dataset, cases, inpainter
        self.seed, self.feather, self.rules = seed, feather, rules
        self.grammar, self.gates = grammar, gates
        backend = inpainter.describe()
        settings = {
            "seed": seed,
            "sources": fingerprint(cases, dataset),
            "feather": feather,
            "placement": asdict(rules),
            "prompts": grammar.describe(),
            "inpainter": backend.pop("settings"),
            "gates": gates.describe() if gates else {"mode": "off"},
        }
        # through JSON once, so that they compare equal to what a manifest gives back
        self.backend, self.settings = json.loads(json.dumps((backend, settings)))
        libraries = sorted({*_LIBRARIES, *inpainter.libraries})
        self.versions = {library: importlib.metadata.version(library) for library in libraries}
        self.versions["python"] = platform.python_version()

    def check_made_alike(self, sample: Sample, manifest: Path) -> None:
        """Raise SyndiffError when an existing sample was made with other settings; warn of other versions."""
        there = _flat({"backend": sample.backend, **sample.settings})
        here = _flat({"backend": self.backend, **self.settings})
        differences = _differences(there, here)
        if differences:
            raise SyndiffError(
                f"{manifest} was made with other settings: {differences}. "
                "Repeat the old ones to go on, or synthesize into another folder."
            )
        versions = _differences(sample.versions, self.versions)
        if versions:
            logging.getLogger("syndiff").warning(
                "%s was made with other library versions (%s); new samples may differ in the last bit from "
                "what an uninterrupted run would have given.",
                sample.id,
                versions,
            )

    def attempts(self, start: int, stop: int) -> Iterator[tuple[Sample, Pictures | None]]:
        """Attempts from `start` to `stop`, in order.

        Batches lie at multiples of the batch size and are whole even where some of their samples exist: a
        network's rounding may depend on what else is in the batch, and a resumed run must not differ.
        """
        size = self.inpainter.batch_size
        for first in range(start - start % size, stop, size):
            plans = [self._plan(index) for index in range(first, first + size)]
            paintings = iter(self._paint([plan for plan in plans if isinstance(plan, _Plan)]))
            for index, plan in enumerate(plans, first):
                judged = self._judge(plan, next(paintings)) if plan else (self._unplaced(index), None)
                if start <= index < stop:
                    yield judged

    def _plan(self, index: int) -> _Plan | None:
        placing, painting = (
            np.random.default_rng(child) for child in np.random.SeedSequence((self.seed, index)).spawn(2)
        )
        # every frame serves once before one serves again
        turn, position = divmod(index, len(self.cases))
        first = np.random.default_rng((self.seed, turn, 1)).permutation(len(self.cases))[position]
        margin = self.inpainter.margin
        placement = place(self.dataset, self.cases, self.cases[first], placing, margin=margin, rules=self.rules)
        if placement is None:
            return None
        prompt = self.grammar.prompt(
            index,
            self.seed,
            placement.lesion_mask,
            placement.image,
            measured_only=self.inpainter.reads_captions,
        )
        return _Plan(index, int(painting.integers(2**32)), placement, prompt)

    def _paint(self, plans: Sequence[_Plan]) -> list[NDArray[np.float32]]:
        requests = [
            InpaintRequest(
                image=plan.placement.image,
                mask=plan.placement.paint_mask,
                prompt=plan.prompt.text,
                negative_prompt=plan.prompt.negative,
                seed=plan.seed,
                donor=plan.placement.donor,
            )
            for plan in plans
        ]
        paintings = self.inpainter.inpaint(requests) if requests else []
        found = [painted.shape for painted in paintings]
        expected = [request.image.shape for request in requests]
        if found != expected:
            raise SyndiffError(
                f"The inpainter {self.inpainter.name} returned pictures of shape {found} for frames of "
                f"{expected}; it must return one picture of the frame's size for each request."
            )
        return paintings

    def _judge(self, plan: _Plan, painted: NDArray[np.float32]) -> tuple[Sample, Pictures]:
        placement = plan.placement
        usable = np.nan_to_num(painted, posinf=1, neginf=0)
        image = composite(placement.image, usable, placement.paint_mask, feather=self.feather)
        scores, reason = failed_paint(placement.image, painted, placement.paint_mask)
        detail = None
        if self.gates and reason is None:
            verdicts = self.gates.judge(
                GateInput(
                    image=image,
                    label=placement.label,
                    lesion_mask=placement.lesion_mask,
                    paint_mask=placement.paint_mask,
                    prompt=plan.prompt.text,
                    case_id=f"{PREFIX}{plan.index:06d}",
                )
            )
            scores |= {verdict.gate: verdict.score for verdict in verdicts}
            failed = next((verdict for verdict in verdicts if not verdict.passed), None)
            if failed:
                detail = failed.reason
                reason = failed.gate if self.gates.refuses else None
        sample = Sample(
            id=f"{PREFIX}{plan.index:06d}",
            source_case=placement.background.id,
            mask_source=placement.lesion.id,
            group=placement.background.group,
            mask_group=placement.lesion.group,
            prompt=plan.prompt.text,
            negative_prompt=plan.prompt.negative,
            words=plan.prompt.words,
            seed=plan.seed,
            placement=placement.describe(),
            backend=self.backend,
            settings=self.settings,
            gates=scores,
            accepted=reason is None,
            reason=reason,
            detail=detail,
            versions=self.versions,
        )
        return sample, Pictures(image, placement.label)

    def _unplaced(self, index: int) -> Sample:
        return Sample(
            id=f"{PREFIX}{index:06d}",
            backend=self.backend,
            settings=self.settings,
            accepted=False,
            reason="no place found for a lesion",
            versions=self.versions,
        )


def _check(cases: Sequence[Case], count: int, seed: int, feather: float) -> None:
    if len(cases) < 2:
        raise SyndiffError(
            f"Synthesis moves lesions between training cases and needs at least two; found {len(cases)}."
        )
    for name, value, least in (("count", count, 1), ("seed", seed, 0), ("feather", feather, 0)):
        if not value >= least:
            raise SyndiffError(f"{name} is {value}; expected {least} or more.")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Name the keys whose values differ, with both values; empty when none does."""
    missing = "(absent)"
    return ", ".join(
        f"{key} was {there.get(key, missing)} and is now {here.get(key, missing)}"
        for key in sorted({*there, *here})
        if there.get(key, missing) != here.get(key, missing)
    )
