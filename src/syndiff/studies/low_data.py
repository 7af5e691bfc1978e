"""What synthetic cases are worth when few sequences are annotated: the same steps with and without them, paired."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.files import write_json, write_text
from syndiff.pipeline.adaptation import adapt_compact
from syndiff.pipeline.early import check_adaptation, check_segmenters, check_synthesis
from syndiff.pipeline.factories import make_gates, make_inpainter
from syndiff.pipeline.provenance import check_gate_segmenter, check_inpainter, open_synthetic
from syndiff.pipeline.splitting import stored_split
from syndiff.studies.choices import Side, Source
from syndiff.studies.table import as_markdown, tabulate
from syndiff.studies.training_cell import TrainingCell, finish_cells
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.training.planning import Plan
from syndiff.training.run_folder import open_run

log = logging.getLogger("syndiff")
REAL = "real only"
SOURCES: tuple[Source, ...] = get_args(Source)
_NAMES: dict[Source, str] = {
    "copy_paste": "copy_paste",
    "own": "compact, gates",
    "own-ungated": "compact, no gates",
    "elsewhere": "compact from elsewhere, gates",
    "elsewhere-ungated": "compact from elsewhere, no gates",
    "others": "real cases of another dataset",
}
_ASKS: dict[str, tuple[Source, ...]] = {"elsewhere": ("elsewhere", "elsewhere-ungated"), "others": ("others",)}
"""Options that name a folder, and the sources that need it."""


@dataclass(frozen=True)
class StudyArm:
    """Real cases and `share` times as many added ones, if any: the first synthetic ones in the folder `added`.

    With `real` that is a dataset of another origin, of which they are drawn by the split's seed.
    """

    name: str
    added: Path | None = None
    share: float = 0.0
    real: bool = False

    def cases(self, split: Split, dataset: Dataset) -> tuple[Dataset, list[str]]:
        """The added cases: fewer than the share where the gates let fewer through."""
        assert self.added is not None
        folder = Dataset.open(self.added) if self.real else open_synthetic(self.added, split, dataset)
        names = [case.id for case in folder.cases]
        if self.real:
            names = np.random.default_rng(split.seed).permutation(sorted(names)).tolist()
        return folder, names[: round(self.share * len(split.train))]


def low_data(
    data: Path,
    out: Path,
    settings: Settings,
    *,
    groups: int,
    steps: int,
    repeats: int,
    shares: Sequence[float],
    elsewhere: Path | None,
    others: Path | None = None,
    sources: Sequence[Source] = (),
    workers: int,
    side: Side,
    seed: int,
) -> str:
    """Train every arm `repeats` times for `steps` steps on `groups` training groups; returns the table as Markdown.

    Arms: real only; with copy_paste; with the compact inpainter adapted to the same few groups, with and without
    gates (the agreement with the first segmenter of real cases is one); and, with `elsewhere` (a run folder of
    `adapt`), the same two with an inpainter adapted to other data. Each with every one of `shares` of synthetic cases;
    with `others` (a dataset folder) also with as many of its real cases in their place, to hold synthetic ones against.
    `sources` chooses among all these; empty: all that there are. The table averages over the repeats of a case and
    resamples groups. `workers` trainings run at a time.
    """
    asked, sources = sources, _chosen(sources, {"elsewhere": elsewhere, "others": others})
    _check_choices(settings, sources, groups=groups, repeats=repeats, shares=shares, workers=workers)
    # 1. A few groups of the training side; validation stays what it is.
    dataset = open_checked(data)
    whole = stored_split(dataset, out / "whole_split.json", method="auto", seed=seed)
    split = few_groups(dataset, whole, groups, seed)
    _check_cases(settings, dataset, split, sources, shares=shares, elsewhere=elsewhere, others=others, seed=seed)
    about = {"groups": groups, "steps": steps, "shares": list(shares), "elsewhere": str(elsewhere or "")}
    about |= {"sources": list(sources)} if asked else {}
    about |= {"others": str(others)} if others is not None else {}
    open_run(out / "study", {"study": about, "data": str(data), "seed": seed, **settings.recorded()})
    whole.write(out / "whole_split.json")
    split.write(out / "split.json")
    log.info(str(split))

    # 2. The inpainters and their synthetic cases; the first segmenter of real cases is a gate.
    def cell(arm: StudyArm, seed: int) -> TrainingCell:
        folder = out / "cells" / arm.name.replace(" ", "-") / str(seed)
        added = arm.cases(split, dataset) if arm.added else None
        return TrainingCell(folder, arm.name, settings, Plan(steps=steps), split, seed, added=added)

    judge = cell(StudyArm(REAL), seed)
    judge.train_and_score(dataset, side, progress=True)
    gated = replace(settings, gates=replace(settings.gates, segmenter=str(judge.folder)))
    synthetic = synthetic_arms(dataset, split, out, gated, sources, shares=shares, elsewhere=elsewhere, seed=seed)
    more = [StudyArm(f"{_NAMES['others']}, {share:.0%}", others, share, real=True) for share in shares if others]
    arms = [StudyArm(REAL), *synthetic, *more]

    # 3. The cells and the table.
    cells = [cell(arm, seed + repeat) for repeat in range(repeats) for arm in arms]
    content = tabulate(finish_cells(cells, dataset, side, workers), REAL)
    for arm in arms:
        added = len(arm.cases(split, dataset)[1]) if arm.added else 0
        content[arm.name] = {"added": added, **content[arm.name]}
    write_json(out / f"low_data_{side}.json", {"study": about, "side": side, "arms": content})
    text = as_markdown(content, REAL)
    write_text(out / f"low_data_{side}.md", text)
    return text


def _check_choices(
    settings: Settings, sources: Sequence[Source], *, groups: int, repeats: int, shares: Sequence[float], workers: int
) -> None:
    """Raise SyndiffError for settings that these sources do not use, and for numbers that cannot be."""
    own = {"own", "own-ungated"} & set(sources)
    check_use(
        settings,
        "study low-data",
        None if {"own", "elsewhere"} & set(sources) else "study low-data without a source that has gates",
        "study low-data without a synthetic source" if sources == ("others",) else None,
        None if {*sources} - {"copy_paste", "others"} else "study low-data without an inpainter",
        None if own else "study low-data without the source own",
        "study low-data while adapt.minutes is above 0" if own and settings.adapt.minutes else None,
    )
    if repeats < 1 or groups < 2 or workers < 1 or not shares or min(shares) <= 0:
        raise SyndiffError(
            f"study low-data: found groups={groups}, repeats={repeats}, workers={workers} and shares={list(shares)}; "
            "expected 2 groups or more, 1 repeat and worker or more, and shares above 0."
        )
    if len({f"{share:.0%}" for share in shares}) < len(shares):
        raise SyndiffError(f"--shares {' '.join(map(str, shares))}: expected each whole percentage once.")


def _check_cases(
    settings: Settings,
    dataset: Dataset,
    split: Split,
    sources: Sequence[Source],
    *,
    shares: Sequence[float],
    elsewhere: Path | None,
    others: Path | None,
    seed: int,
) -> None:
    """Raise SyndiffError for what the dataset and its few groups do not allow."""
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
        grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
        check_adaptation(dataset, split, grammar, settings.inpainter, fetch=True)
        check_synthesis(dataset, split, settings, None, seed=seed)
    if "copy_paste" in sources:
        copied = replace(settings.synthesis, inpainter="copy_paste", model="", background_lesion="keep")
        plain = replace(settings, synthesis=copied, chosen=frozenset())
        check_synthesis(dataset, split, plain, make_inpainter(plain), seed=seed)
    check_segmenters(settings, ["diffusion"], fetch=True)


def _chosen(sources: Sequence[Source], folders: Mapping[str, Path | None]) -> tuple[Source, ...]:
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
        raise SyndiffError(
            f"study low-data: the training side has {len(names)} groups, {count} were asked for; lower --groups."
        )
    kept = set(np.random.default_rng([seed, count]).permutation(names)[:count].tolist())
    train = tuple(case for case in split.train if group_of[case] in kept)
    spare = tuple(case for case in split.train if group_of[case] not in kept)
    return replace(split, train=train, test=(*split.test, *spare))


def synthetic_arms(
    dataset: Dataset,
    split: Split,
    out: Path,
    settings: Settings,
    sources: Sequence[Source],
    *,
    shares: Sequence[float],
    elsewhere: Path | None,
    seed: int,
) -> list[StudyArm]:
    """Adapt where it is needed, synthesize the largest share once for each source, and name an arm for each share."""
    grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
    own = out / "inpainter"
    if {"own", "own-ungated"} & set(sources):
        adapt_compact(
            dataset, split, own, grammar=grammar, model_settings=settings.inpainter, settings=settings.adapt, seed=seed
        )
    arms = []
    for source in sources:
        if source == "others":
            continue
        name = _NAMES[source]
        kind: Literal["compact", "copy_paste"] = "copy_paste" if source == "copy_paste" else "compact"
        model = {"own": own, "elsewhere": elsewhere}.get(source.removesuffix("-ungated"))
        gated = source in ("own", "elsewhere")
        ways = settings.synthesis.background_lesion if kind == "compact" else "keep"
        chosen = replace(settings.synthesis, inpainter=kind, model=str(model or ""), background_lesion=ways)
        gates = settings.gates if gated else replace(settings.gates, mode="off", segmenter="", text_model="")
        painting = replace(settings, synthesis=chosen, gates=gates, chosen=frozenset())
        folder = out / "synthetic" / name.replace(", ", "-").replace(" ", "-")
        inpainter = make_inpainter(painting)
        summary = synthesize_cases(
            dataset,
            split.train,
            inpainter,
            folder,
            chosen,
            count=round(max(shares) * len(split.train)),
            least=round(min(shares) * len(split.train)),
            seed=seed,
            grammar=grammar,
            gates=make_gates(
                painting, inpainter, dataset, split, folder, check_gate_segmenter(painting, split, dataset)
            ),
        )
        log.info(f"{name}: {summary}")
        added = [StudyArm(f"{name}, {share:.0%}", folder, share) for share in shares]
        for arm in added:
            if (found := len(arm.cases(split, dataset)[1])) < round(arm.share * len(split.train)):
                log.warning(f"{arm.name}: only {found} synthetic cases were accepted for {len(split.train)} real ones")
        arms += added
    return arms
