"""From training cases to a synthetic dataset folder, sample by sample, resumable at any moment."""

import contextlib
import shutil
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.synthesis.finish import SynthesisSummary, finish
from syndiff.synthesis.gates.acceptance import Acceptance
from syndiff.synthesis.gates.panel import Gates
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.likeness import Likeness, write_real
from syndiff.synthesis.manifest import Sample, SynthesisFolder, claimed_folder, sample_id
from syndiff.synthesis.parts import FOLDER as PARTS
from syndiff.synthesis.parts import Spread
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.synthesis.shards import WHOLE, Shard, mark, most_attempts
from syndiff.synthesis.studio import Studio


def synthesize_cases(
    dataset: Dataset,
    case_ids: Iterable[str],
    inpainter: Inpainter,
    out: Path,
    settings: SynthesisSettings,
    *,
    count: int,
    least: int | None = None,
    seed: int = 0,
    rules: PlacementRules | None = None,
    grammar: Grammar | None = None,
    gates: Gates | None = None,
    shard: Shard = WHOLE,
    spread: Spread | None = None,
    progress: bool = True,
) -> SynthesisSummary:
    """Make `out` a dataset folder of `count` accepted synthetic cases, with a manifest of every attempt.

    Only the cases in `case_ids` (the training split) are read: frames, masks and lesions. Attempt i depends on
    `seed` and i alone. `grammar` words the prompts; None takes the pack of the dataset's class. `gates` judge every
    sample that did not fail technically; their bounds lie beside the samples in gates.json, and acceptance.json counts
    what was refused and why.
    Rejected samples lie under rejected/ with their reason in the manifest. Call it again to go on after a crash or to
    ask for more samples; the bytes are those of a run that was never interrupted. dataset.json is written last: a
    folder without it is unfinished. A `shard` makes only its part of the attempts for the `count` samples of all
    shards and never dataset.json; `shards.merge` unites them. The attempts of a whole synthesis can be `spread` over
    a cluster.

    Raises SyndiffError for fewer than two cases, a folder made with other settings or holding other images, one
    that another process writes into, a dataset without lesions or without a place for one, an inpainter that cannot
    do what `background_lesion` asks, prompts that it cannot read, and when 5 x count + 20 attempts did not give `least`
    accepted samples, `count` where it is None (the accepted ones are a complete dataset folder all the same).
    """
    studio = Studio(
        dataset,
        case_ids,
        inpainter,
        settings,
        seed=seed,
        rules=rules or PlacementRules(),
        grammar=grammar or Grammar.for_dataset(dataset, settings.prompts),
        gates=gates,
    )
    if not count >= 1:
        raise SyndiffError(f"count is {count}; expected 1 or more.")
    with claimed_folder(Path(out)) as folder:
        return _fill(folder, studio, count, least, shard, spread, progress)


def _fill(
    folder: SynthesisFolder,
    studio: Studio,
    count: int,
    least: int | None,
    shard: Shard,
    spread: Spread | None,
    progress: bool,
) -> SynthesisSummary:
    """Bring `folder` to `count` accepted samples, or to the shard's part of them."""
    mark(folder, shard, studio.inpainter.capabilities.batch_size)
    out, accepted, done = folder.root, 0, 0
    for position, sample in enumerate(folder):
        studio.check_made_alike(sample, folder.manifest)
        expected = sample_id(shard.attempt(position, studio.inpainter.capabilities.batch_size))
        if sample.id != expected:
            raise SyndiffError(
                f"{folder.manifest} holds {sample.id} where {expected} was expected; restore the file or synthesize "
                "into another folder."
            )
        folder.check_pictures(sample)
        accepted += sample.accepted
        done += 1
    if accepted > count:
        raise SyndiffError(
            f"{out} already holds {accepted} accepted samples but count is {count}; "
            f"ask for at least {accepted} or synthesize into another folder."
        )
    wanted, changed = -(-count // shard.count), False
    if not shard.has_enough(accepted, done, count):
        check_prompts(studio.grammar, studio.inpainter)
        studio.places.check()
        folder.begin()
        studio.seen.write(folder.root)
        write_real(studio.album, folder.root)
        if studio.gates:
            studio.gates.write(folder.root / "gates.json")
        bar = tqdm(total=wanted, initial=accepted, desc=studio.inpainter.name, unit="sample", disable=not progress)
        made: Generator[tuple[Sample, Any], None, None] = studio.attempts(done, most_attempts(count), shard)
        keep: Callable[[Sample, Any], None] = folder.add
        if spread is not None:
            size = studio.inpainter.capabilities.batch_size
            made = spread.attempts(out, done, most_attempts(count), count=count, batch_size=size)
            keep = folder.adopt
        with bar, contextlib.closing(made):
            for sample, pictures in made:
                keep(sample, pictures)
                accepted += sample.accepted
                done += 1
                bar.update(sample.accepted)
                bar.set_postfix(accepted=f"{accepted / done:.0%}")
                if shard.has_enough(accepted, done, count):
                    break
        shutil.rmtree(out / PARTS, ignore_errors=True)
        changed = True
    account = Acceptance.of(folder)
    likeness = Likeness.of(out, folder) if shard.count == 1 else None
    if likeness and (changed or not folder.is_finished):  # else its tables may have been corrected by hand
        finish(
            folder,
            studio.dataset,
            studio.inpainter.name,
            account,
            likeness,
            backgrounds=studio.synthesis.backgrounds,
        )
    summary = SynthesisSummary(out, account, likeness)
    summary.check(wanted if least is None else min(wanted, least))
    return summary


def check_prompts(grammar: Grammar, inpainter: Inpainter) -> None:
    """Raise SyndiffError when the inpainter could not read the prompts of a grammar, before any painting."""
    reads_captions = inpainter.capabilities.reads_captions
    for text in grammar.longest(measured_only=reads_captions):
        inpainter.check_prompt(text)
    if reads_captions:
        for word in grammar.vocabulary:
            inpainter.check_prompt(word)
