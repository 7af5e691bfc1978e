"""What an attempt is: planned from the seed and its index, painted in a batch, judged."""

import json
import logging
import platform
from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count as count_from
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syndiff.data.class_view import ClassView, written_with
from syndiff.data.dataset import Dataset
from syndiff.data.readers import image_content, read_image
from syndiff.data.seen import Seen
from syndiff.documents import differences
from syndiff.errors import SyndiffError
from syndiff.synthesis.compositing import put
from syndiff.synthesis.gates.failure import inpainting_failure
from syndiff.synthesis.gates.panel import Gates
from syndiff.synthesis.gates.region import GateInput
from syndiff.synthesis.inpainters.base import Inpainter, InpaintRequest
from syndiff.synthesis.inpainters.checks import (
    check_abilities,
    check_paintings,
    check_parts,
    described,
    versions_of,
)
from syndiff.synthesis.manifest import Pictures, Sample, flat, sample_id
from syndiff.synthesis.placement.measures import measure
from syndiff.synthesis.placement.places import Places
from syndiff.synthesis.placement.placing import Placement
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.prompts.grammar import Grammar, Prompt
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.synthesis.shards import WHOLE, Shard

Image = NDArray[np.uint8] | NDArray[np.uint16]

_LIBRARIES = ("syndiff", "numpy", "pillow", "scipy", "tifffile")


@dataclass(frozen=True)
class Plan:
    """What an attempt will paint; made from the seed and the attempt's index alone."""

    index: int
    seed: int
    removal_seed: int
    placement: Placement
    prompt: Prompt


class Studio:
    """Plans, paints and judges; knows nothing of the folder it works for."""

    def __init__(
        self,
        dataset: Dataset,
        case_ids: Iterable[str],
        inpainter: Inpainter,
        synthesis: SynthesisSettings,
        *,
        seed: int,
        rules: PlacementRules,
        grammar: Grammar,
        gates: Gates | None = None,
    ) -> None:
        if not seed >= 0:
            raise SyndiffError(f"seed is {seed}; expected 0 or more.")
        check_parts(inpainter)
        check_abilities(inpainter, synthesis)
        can = inpainter.capabilities
        self.places = Places(
            dataset,
            case_ids,
            synthesis,
            seed=seed,
            margin=can.margin,
            at_once=can.reads_lesion_mask,
            rules=rules,
        )
        self.album = self.places.album
        self._own = {case.id for case in self.album.cases}
        self.dataset, self.inpainter, self.synthesis, self.seed = dataset, inpainter, synthesis, seed
        self.grammar, self.gates = grammar, gates
        backend = described(inpainter)
        settings = {
            "seed": seed,
            "sources": dataset.fingerprint_of(self.album.cases),
            "lesions": self._lender(),
            "backgrounds": dataset.fingerprint_of(self.album.backgrounds) if synthesis.backgrounds else None,
            **synthesis.recorded(),
            **({"paints": dataset.targets[0]} if isinstance(dataset, ClassView) else {}),
            "placement": {
                name: value
                for name, value in asdict(rules).items()
                if synthesis.background_lesion == "replace" or name not in ("grow", "cover")
            },
            "prompts": grammar.describe(),
            "inpainter": backend.pop("settings"),
            "gates": gates.describe() if gates else {"mode": "off"},
        }
        # through JSON once, so that they compare equal to what a manifest gives back
        self.backend, self.settings = json.loads(json.dumps((backend, settings)))
        self.versions = {**versions_of(inpainter, _LIBRARIES), "python": platform.python_version()}

    def _lender(self) -> dict[str, str] | None:
        """The dataset that lends its lesions, by name and content, where it is another one."""
        lender = self.album.lender
        return {"dataset": lender.name, "fingerprint": lender.fingerprint()} if lender else None

    @property
    def seen(self) -> Seen:
        """The pictures behind the samples: frames, those that lent lesions, and those that the inpainter has seen."""
        foreign = self.album.backgrounds if self.synthesis.backgrounds else ()
        frames = {image_content(read_image(case.image)): case.id for case in foreign}
        own, lender = Seen.of(self.dataset, (case.id for case in self.album.cases)), self.album.lender
        lent = Seen.of(lender, (case.id for case in lender.cases)) if lender else None
        return own | Seen(frames) | lent | self.inpainter.seen

    def check_made_alike(self, sample: Sample, manifest: Path) -> None:
        """Raise SyndiffError when an existing sample was made with other settings; warn of other versions."""
        there = flat({"backend": sample.backend, **sample.settings})
        here = flat({"backend": self.backend, **self.settings})
        if different := differences(there, here):
            raise SyndiffError(
                f"{manifest} was made with other settings: {different}. "
                "Repeat the old ones to go on, or synthesize into another folder."
            )
        versions = differences(sample.versions, self.versions)
        if versions:
            logging.getLogger("syndiff").warning(
                "%s was made with other library versions (%s); new samples may differ in the last bit from "
                "what an uninterrupted run would have given.",
                sample.id,
                versions,
            )

    def attempts(
        self, done: int, stop: int, shard: Shard = WHOLE
    ) -> Generator[tuple[Sample, Pictures | None], None, None]:
        """A shard's attempts below the index `stop`, in order, without the first `done` of them.

        Batches lie at multiples of the batch size and are whole even where some of their samples exist: a
        network's rounding may depend on what else is in the batch, and a resumed run must not differ.
        """
        size = self.inpainter.capabilities.batch_size
        for position in count_from(done - done % size, size):
            first = shard.attempt(position, size)
            if first >= stop:
                return
            plans = [self.plan(index) for index in range(first, first + size)]
            finished = iter(self.paint([plan for plan in plans if plan]))
            for index, plan in enumerate(plans, first):
                judged = self._judge(*next(finished)) if plan else (self._unplaced(index), None)
                if position + index - first >= done and index < stop:
                    yield judged

    def plan(self, index: int) -> Plan | None:
        """What attempt `index` will paint and where; None when no place is found."""
        placement = self.places.of(index)
        if placement is None:
            return None
        painting = np.random.default_rng(np.random.SeedSequence((self.seed, index)).spawn(2)[1])
        measured_only = self.inpainter.capabilities.reads_captions
        prompt = self.grammar.prompt(index, self.seed, placement.lesion_mask, placement.image, measured_only)
        seed, removal_seed = (int(painting.integers(2**32)) for _ in range(2))
        return Plan(index, seed, removal_seed, placement, self._as_read(prompt))

    def _as_read(self, prompt: Prompt) -> Prompt:
        """The prompt without what the inpainter does not read: one that learned from captions has no negative words."""
        return replace(prompt, negative="") if self.inpainter.capabilities.reads_captions else prompt

    def paint(self, plans: Sequence[Plan]) -> list[tuple[Plan, NDArray[np.float32], str | None]]:
        """Paint the plans of a batch, after painting over the frames' own lesions where that is asked.

        Returns each plan, its placement's image without the removed lesion, with the picture (HxWx3 float) and
        the reason why the removal failed, if it did.
        """
        failures: dict[int, str | None] = {}
        removals = [plan for plan in plans if plan.placement.removal_mask is not None]
        cleared = {}
        for plan, painted in zip(removals, self._ask([self._removal(plan) for plan in removals]), strict=True):
            placement, mask = plan.placement, plan.placement.removal_mask
            assert mask is not None
            _, failures[plan.index] = inpainting_failure(placement.image, painted, mask)
            image = self.put(placement.image, painted, mask, seed=plan.seed)
            cleared[plan.index] = replace(plan, placement=replace(placement, image=image))
        ready = [cleared.get(plan.index, plan) for plan in plans]
        requests = [
            InpaintRequest(
                image=plan.placement.image,
                mask=plan.placement.inpaint_mask,
                lesion=plan.placement.lesion_mask,
                prompt=plan.prompt.text,
                negative_prompt=plan.prompt.negative,
                seed=plan.seed,
                donor=plan.placement.donor,
            )
            for plan in ready
        ]
        return [
            (plan, painted, failures.get(plan.index)) for plan, painted in zip(ready, self._ask(requests), strict=True)
        ]

    def put(self, frame: Image, painted: NDArray[np.float32], mask: NDArray[np.bool_], *, seed: int) -> Image:
        """The inpainted picture in its frame; `seed` draws its grain."""
        return put(frame, painted, mask, self.synthesis, seed=seed)

    def _removal(self, plan: Plan) -> InpaintRequest:
        """Ask for healthy tissue in place of the frame's own lesions."""
        prompt, mask = self._as_read(self.grammar.background), plan.placement.removal_mask
        assert mask is not None
        return InpaintRequest(
            image=plan.placement.image,
            mask=mask,
            lesion=np.zeros_like(mask),
            prompt=prompt.text,
            negative_prompt=prompt.negative,
            seed=plan.removal_seed,
            donor=plan.placement.donor,
        )

    def _ask(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        paintings = self.inpainter.inpaint(requests) if requests else []
        check_paintings(self.inpainter, requests, paintings)
        return list(paintings)

    def _judge(self, plan: Plan, painted: NDArray[np.float32], removal_failed: str | None) -> tuple[Sample, Pictures]:
        placement, removal = plan.placement, None
        image = self.put(placement.image, painted, placement.inpaint_mask, seed=plan.seed)
        scores, reason = inpainting_failure(placement.image, painted, placement.inpaint_mask)
        if removal_failed:
            reason = f"removing the frame's lesion: {removal_failed}"
        detail = caption = None
        if not self.inpainter.capabilities.paints_from_text:  # the prompt says nothing of it
            caption = self.grammar.caption(image, placement.lesion_mask, placement.label).text
        if self.gates and reason is None:
            verdicts = self.gates.judge(
                GateInput(
                    image=image,
                    label=placement.label,
                    lesion_mask=placement.lesion_mask,
                    inpaint_mask=placement.inpaint_mask,
                    seen=placement.view,
                    prompt=caption or plan.prompt.text,
                    case_id=sample_id(plan.index),
                )
            )
            scores |= {verdict.gate: verdict.score for verdict in verdicts}
            failed = next((verdict for verdict in verdicts if not verdict.passed), None)
            if failed:
                detail = failed.reason
                reason = failed.gate if self.gates.refuses else None
        if placement.removal_mask is not None:
            prompt = self._as_read(self.grammar.background)
            removal = {"prompt": prompt.text, "negative_prompt": prompt.negative, "seed": plan.removal_seed}
        sample = Sample(
            id=sample_id(plan.index),
            source_case=placement.background.id,
            mask_source=placement.lesion.id,
            group=placement.background.group,
            mask_group=placement.lesion.group,
            prompt=plan.prompt.text,
            negative_prompt=plan.prompt.negative,
            words=plan.prompt.words,
            caption=caption,
            seed=plan.seed,
            placement=placement.describe(),
            removal=removal,
            backend=self.backend,
            settings=self.settings,
            gates=scores,
            accepted=reason is None,
            reason=reason,
            detail=detail,
            lesions=[
                lesion.rounded() for lesion in measure(image, placement.lesion_mask, placement.label, placement.view)
            ],
            versions=self.versions,
        )
        return sample, self._pictures(image, placement)

    def _pictures(self, image: Image, placement: Placement) -> Pictures:
        """What is kept of a sample: of several classes, the label with those of the other classes."""
        if not isinstance(self.dataset, ClassView):
            return Pictures(image, placement.label)
        own = placement.background if placement.background.id in self._own else None
        every = self.dataset.merged(own, placement.label)
        return Pictures(image, placement.label, every, written_with(self.dataset))

    def _unplaced(self, index: int) -> Sample:
        return Sample(
            id=sample_id(index),
            backend=self.backend,
            settings=self.settings,
            accepted=False,
            reason="no place found for a lesion",
            placement=self.places.describe(index),
            versions=self.versions,
        )
