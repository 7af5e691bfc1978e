"""What `study low-data` compares: few groups, the sources of added cases, and what each of them is refused for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.pipeline.early import check_segmenters
from syndiff.pipeline.provenance import check_inpainter
from syndiff.studies.added import Adaptation, FirstOf, RealCases, SyntheticSet, check_set, settings_of_set
from syndiff.studies.choices import SOURCES, Side, Source
from syndiff.studies.training import Training
from syndiff.training.planning import Plan

REAL = "real only"
NAMES: dict[Source, str] = {
    "copy_paste": "copy_paste",
    "own": "compact, gates",
    "own-ungated": "compact, no gates",
    "elsewhere": "compact from elsewhere, gates",
    "elsewhere-ungated": "compact from elsewhere, no gates",
    "others": "real cases of another dataset",
}
_ASKS: dict[str, tuple[Source, ...]] = {"elsewhere": ("elsewhere", "elsewhere-ungated"), "others": ("others",)}
"""Options that name a folder, and the sources that need it."""


class Folders(NamedTuple):
    """Where added cases of other origin come from: an inpainter that was adapted elsewhere, and real cases."""

    elsewhere: Path | None
    others: Path | None


def trainings(
    study: Path,
    data: Path,
    split: Split,
    settings: Settings,
    sources: Sequence[Source],
    *,
    steps: int,
    shares: Sequence[float],
    folders: Folders,
    side: Side,
    seeds: Sequence[int],
) -> list[Training]:
    """A training of every arm with each of `seeds`: real only, then each source with each share of added cases.

    The first one of real cases is the judge of the gate `agreement`. The largest share is synthesized once for each
    source, with the first seed.
    """
    elsewhere, others = folders
    counts = [round(share * len(split.train)) for share in shares]

    def training(arm: str, seed: int, added: FirstOf | RealCases | None = None) -> Training:
        name = f"cells/{arm.replace(' ', '-')}/{seed}"
        return Training(study, name, arm, data, settings, Plan(steps=steps), split, seed, side, added=added)

    teacher = Adaptation(study, data, split, settings, seeds[0])
    judge = training(REAL, seeds[0])
    arms: dict[str, FirstOf | RealCases | None] = {REAL: None}
    fingerprint = Dataset.open(others).fingerprint() if others else ""
    for source in sources:
        if source == "others":
            assert others is not None
            added: list[FirstOf | RealCases] = [RealCases(others, fingerprint, count) for count in counts]
        else:
            own, gated = source.startswith("own"), source in ("own", "elsewhere")
            copied = source == "copy_paste"
            chosen = {
                "inpainter": "copy_paste" if copied else "compact",
                "model": "" if copied or own else str(elsewhere),
                "background_lesion": "keep" if copied else settings.synthesis.background_lesion,
            }
            made = SyntheticSet(
                study,
                "synthetic/" + NAMES[source].replace(", ", "-").replace(" ", "-"),
                data,
                split,
                settings_of_set(settings, chosen, gated=gated),
                max(counts),
                min(counts),
                seeds[0],
                teacher=teacher if own else None,
                judge=judge if gated else None,
            )
            added = [FirstOf(made, count) for count in counts]
        arms |= {f"{NAMES[source]}, {share:.0%}": cases for share, cases in zip(shares, added, strict=True)}
    return [training(arm, seed, cases) for seed in seeds for arm, cases in arms.items()]


def check_cases(
    settings: Settings,
    dataset: Dataset,
    split: Split,
    sources: Sequence[Source],
    *,
    shares: Sequence[float],
    folders: Folders,
    seed: int,
    fetch: bool,
) -> None:
    """Raise SyndiffError for what the dataset and its few groups do not allow."""
    elsewhere, others = folders
    if elsewhere is not None:
        taught = replace(settings.synthesis, inpainter="compact", model=str(elsewhere))
        check_inpainter(replace(settings, synthesis=taught), split, dataset)
    if others is not None:
        _check_others(others, dataset, round(max(shares) * len(split.train)))
    if min(shares) * len(split.train) < 1:
        raise SyndiffError(
            f"--shares {min(shares):g} of {len(split.train)} training cases is less than one; raise it or --groups."
        )
    if {"own", "own-ungated"} & set(sources):
        check_set(dataset, split, settings, seed=seed, adapts=True, fetch=fetch)
    if "copy_paste" in sources:
        copied = {"inpainter": "copy_paste", "model": "", "background_lesion": "keep"}
        plain = settings_of_set(settings, copied, gated=False)
        check_set(dataset, split, plain, seed=seed, adapts=False, fetch=fetch)
    check_segmenters(settings, ["diffusion"], fetch=fetch)


def chosen_sources(sources: Sequence[Source], folders: Mapping[str, Path | None]) -> tuple[Source, ...]:
    """The sources in their order. Raises SyndiffError where they do not fit the `folders` of the options."""
    missing = {source for option, each in _ASKS.items() if folders[option] is None for source in each}
    if not sources:
        return tuple(source for source in SOURCES if source not in missing)
    for option, each in _ASKS.items():
        asked = " ".join(sources)
        if folders[option] is None and {*each} & {*sources}:
            raise SyndiffError(f"--sources {asked}: found no --{option}, which names the folder; give it too.")
        if folders[option] is not None and not {*each} & {*sources}:
            raise SyndiffError(
                f"--{option} {folders[option]} has no effect with --sources {asked}; add {' or '.join(each)}, or leave "
                "it out."
            )
    return tuple(source for source in SOURCES if source in sources)


def _check_others(others: Path, dataset: Dataset, wanted: int) -> None:
    """Raise SyndiffError for a folder with images of the study's own dataset, a synthetic one, and one too small."""
    other = open_checked(others)
    if (others / "manifest.jsonl").exists():
        raise SyndiffError(
            f"--others {others} is a synthetic dataset (it has a manifest.jsonl); give one of real cases."
        )
    own = {dataset.content(case) for case in dataset.cases}
    shared = next((case.id for case in other.cases if other.content(case) in own), None)
    if other.name == dataset.name or shared is not None:
        found = f"has its name, {dataset.name}" if shared is None else f"holds images of it, such as {shared}"
        raise SyndiffError(
            f"--others {others} is for another dataset than {dataset.root}, but {found}; its cases may be test cases "
            "here. Give one without them, with a name of its own in dataset.json."
        )
    if len(other.cases) < wanted:
        raise SyndiffError(f"--others {others} has {len(other.cases)} cases, {wanted} are wanted; lower --shares.")


def few_groups(dataset: Dataset, split: Split, count: int, seed: int) -> Split:
    """`split` with only `count` of its training groups, drawn by `seed`; the others join its test cases.

    Nobody has annotated those as far as any arm knows, and each sequence more makes the test surer. A case without a
    group is one of its own.
    """
    group_of = {case: dataset[case].group or case for case in split.train}
    names = sorted(set(group_of.values()))
    if len(names) < count:
        raise SyndiffError(f"The training side has {len(names)} groups, {count} were asked for; lower --groups.")
    kept = set(np.random.default_rng([seed, count]).permutation(names)[:count].tolist())
    train = tuple(case for case in split.train if group_of[case] in kept)
    spare = tuple(case for case in split.train if group_of[case] not in kept)
    return replace(split, train=train, test=(*split.test, *spare))
