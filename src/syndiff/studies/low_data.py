"""What painted cases are worth when few sequences are annotated: the same steps with and without them, paired."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from syndiff.data.dataset import DatasetFolder
from syndiff.data.loading import load_cases
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow
from syndiff.files import write_json, write_text
from syndiff.models.prediction import SegmenterPredictor
from syndiff.pipeline.adaptation import adapt_compact
from syndiff.pipeline.arms import describe_split, obtain_split, train_segmenter
from syndiff.pipeline.painting import make_gates, make_inpainter, open_synthetic
from syndiff.presets import Settings
from syndiff.studies.cells import Side, case_scores
from syndiff.studies.table import as_markdown, tabulate
from syndiff.synthesis.engine import synthesize
from syndiff.synthesis.grammar import Grammar
from syndiff.training.run_folder import open_run

log = logging.getLogger("syndiff")
REAL = "real only"


@dataclass(frozen=True)
class Arm:
    """Real cases and the first `share` times as many of the painted ones in the folder `painted`, if any."""

    name: str
    painted: Path | None = None
    share: float = 0.0


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
    side: Side,
    seed: int,
) -> str:
    """Train every arm `repeats` times for `steps` steps on `groups` training groups; returns the table as Markdown.

    Arms: real only; with copy_paste; with the compact inpainter adapted to the same few groups, with and without
    gates; and, with `elsewhere` (a run folder of `adapt`), the same two with an inpainter adapted to other data. Each
    with every one of `shares` of painted cases. The table averages over the repeats of a case and resamples groups.
    """
    settings.refuse_all_but(
        "study low-data",
        "model",
        "training",
        "augmentation",
        "gates",
        "compact",
        "painter",
        "adapt",
        "synthesis.prompts",
    )
    settings.refuse("study low-data", "model.kind", "training.steps")
    if repeats < 1 or groups < 2 or not shares or min(shares) <= 0:
        raise SyndiffError(
            f"study low-data: found groups={groups}, repeats={repeats} and shares={list(shares)}; expected 2 groups or "
            "more, 1 repeat or more, and shares above 0."
        )
    # 1. A few groups of the training side; validation stays what it is.
    dataset = DatasetFolder.open(data)
    whole = obtain_split(dataset, out / "whole_split.json", method="group", seed=seed)
    split = few_groups(dataset, whole, groups, seed)
    about = {"groups": groups, "steps": steps, "shares": list(shares), "elsewhere": str(elsewhere or "")}
    open_run(out / "study", {"study": about, "data": str(data), "seed": seed, **settings.plain()})
    split.write(out / "split.json")
    log.info(describe_split(split))

    # 2. The inpainters and what they paint.
    arms = [Arm(REAL)]
    arms += paint_arms(dataset, split, out, settings, shares=shares, elsewhere=elsewhere, seed=seed)

    # 3. The cells.
    size = settings.model.image_size
    val_cases = load_cases([(dataset, split.val)], size)
    tables: dict[str, list[list[CaseRow]]] = {}
    for repeat in range(repeats):
        for arm in arms:
            cell = out / "cells" / arm.name.replace(" ", "-") / str(seed + repeat)
            sources: list[tuple[DatasetFolder, Sequence[str]]] = [(dataset, split.train)]
            if arm.painted is not None:
                painted = open_synthetic(arm.painted, split)
                sources.append((painted, [case.id for case in painted.cases][: round(arm.share * len(split.train))]))
            log.info(f"{cell}: {sum(len(ids) for _, ids in sources)} cases")
            best = train_segmenter(
                cell,
                settings,
                steps,
                split,
                load_cases(sources, size),
                val_cases,
                synthetic=arm.painted,
                seed=seed + repeat,
            )
            tables.setdefault(arm.name, []).append(_judge(cell, best, dataset, split, side))

    # 4. The table.
    content = tabulate(tables, REAL)
    write_json(out / f"low_data_{side}.json", {"study": about, "side": side, "arms": content})
    text = as_markdown(content, REAL)
    write_text(out / f"low_data_{side}.md", text)
    return text


def few_groups(dataset: DatasetFolder, split: Split, count: int, seed: int) -> Split:
    """`split` with only `count` of its training groups, drawn by `seed`; the others join its test cases.

    Nobody has annotated them as far as any arm knows, and each sequence more makes the test surer.
    """
    names = sorted({group for case in split.train if (group := dataset[case].group) is not None})
    if len(names) < count:
        raise SyndiffError(
            f"study low-data: the training side has {len(names)} groups, {count} were asked for. It needs a dataset "
            "with groups.csv; lower --groups."
        )
    kept = set(np.random.default_rng([seed, count]).permutation(names)[:count].tolist())
    train = tuple(case for case in split.train if dataset[case].group in kept)
    spare = tuple(case for case in split.train if dataset[case].group not in kept)
    return replace(split, train=train, test=(*split.test, *spare))


def paint_arms(
    dataset: DatasetFolder,
    split: Split,
    out: Path,
    settings: Settings,
    *,
    shares: Sequence[float],
    elsewhere: Path | None,
    seed: int,
) -> list[Arm]:
    """Adapt where it is needed, paint the largest share once for each source, and name an arm for each share."""
    grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
    own = out / "inpainter"
    adapt_compact(
        dataset, split, own, grammar=grammar, model_settings=settings.painter, settings=settings.adapt, seed=seed
    )
    sources: list[tuple[str, Literal["compact", "copy_paste"], Path | None, bool]] = [
        ("copy_paste", "copy_paste", None, False),
        ("compact, gates", "compact", own, True),
        ("compact, no gates", "compact", own, False),
    ]
    if elsewhere is not None:
        sources += [
            ("compact from elsewhere, gates", "compact", elsewhere, True),
            ("compact from elsewhere, no gates", "compact", elsewhere, False),
        ]
    arms = []
    for name, kind, model, gated in sources:
        chosen = replace(settings.synthesis, inpainter=kind, model=str(model or ""))
        mode = settings.gates.mode if gated else "off"
        painting = replace(settings, synthesis=chosen, gates=replace(settings.gates, mode=mode), chosen=frozenset())
        folder = out / "painted" / name.replace(", ", "-").replace(" ", "-")
        inpainter = make_inpainter(painting)
        summary = synthesize(
            dataset,
            split.train,
            inpainter,
            folder,
            count=round(max(shares) * len(split.train)),
            least=round(min(shares) * len(split.train)),
            seed=seed,
            feather=chosen.feather,
            grain=chosen.grain,
            grammar=grammar,
            gates=make_gates(painting, inpainter, dataset, split, folder),
        )
        log.info(f"{name}: {summary}")
        arms += [Arm(f"{name}, {share:.0%}", folder, share) for share in shares]
    return arms


def _judge(cell: Path, best: Path, dataset: DatasetFolder, split: Split, side: Side) -> list[CaseRow]:
    """The cell's scores on one side of the split, computed once."""
    predictor = SegmenterPredictor.load(best, name=cell.parent.name)
    return case_scores(cell / "eval", best, predictor, dataset, split, side)
