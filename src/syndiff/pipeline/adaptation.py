"""Teaching an inpainter the user's images: captions of the training lesions, their crops, a training that resumes."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from syndiff.config.loading import settings_or_default
from syndiff.config.settings import Settings, in_full
from syndiff.config.uses import check_use
from syndiff.data.class_view import class_of
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.masks import components, without_specks
from syndiff.data.seen import Seen
from syndiff.data.splits import Split
from syndiff.data.words import tokenize
from syndiff.documents import digest
from syndiff.errors import SyndiffError
from syndiff.files import expanded
from syndiff.models.autoencoder import load_autoencoder
from syndiff.models.hardware import default_device
from syndiff.models.inpainter import initialise_inpainter
from syndiff.models.settings import InpaintingSettings
from syndiff.pipeline.early import check_adaptation
from syndiff.pipeline.reviewing import Rated, both_given, rated_samples
from syndiff.pipeline.splitting import find_split
from syndiff.pipeline.starting import Start
from syndiff.synthesis.prompts.captions import caption_case
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.training.checkpoints import best_checkpoint, score_of, steps_done
from syndiff.training.inpainting import InpaintingTask
from syndiff.training.inpainting_crops import LesionCrops
from syndiff.training.inpainting_pool import encode_crops
from syndiff.training.loop import Task, check_machine
from syndiff.training.planning import PLAN, asked, in_words, plan_trainings, read_plans, train_planned
from syndiff.training.run_folder import check_run, claimed_run, open_run
from syndiff.training.settings import AdaptSettings

log = logging.getLogger("syndiff")

LESIONS_A_CASE = 6
"""Lesions of one case that are captioned and learned from; images of cells hold dozens."""

PROBES = 64
"""Validation crops."""

_NAME = "inpainter"
"""What its plan.json calls the training."""

Lesions = dict[str, list[tuple[NDArray[np.bool_], str]]]


def caption_lesions(dataset: Dataset, case_ids: Iterable[str], grammar: Grammar, *, progress: bool = False) -> Lesions:
    """Lesions (HxW) of each case with their captions: the dataset's own caption of the case, or what is measured."""
    found: Lesions = {}
    for case_id in tqdm(sorted(case_ids), desc="captions", unit="case", disable=not progress):
        case = dataset[case_id]
        image, every = dataset.load(case)
        labels, areas = components(every)
        chosen = without_specks(areas)
        if len(chosen) > LESIONS_A_CASE:
            chosen = np.random.default_rng(len(areas)).permutation(chosen)[:LESIONS_A_CASE]
        lesions = [labels == label for label in chosen]
        found[case_id] = [(x, case.caption or grammar.caption(image, x, every).text) for x in lesions]
    return found


@dataclass(frozen=True)
class Adapted:
    """An inpainter that was taught: its run folder, its weights, and their loss on validation cases, if it was judged.

    `weights` is a checkpoint folder of a compact inpainter, the file of a LoRA for sdxl.

    >>> syndiff.adapt("my-polyps", "runs/inpainter", settings=settings).inpainter
    'compact'
    """

    run: Path
    inpainter: str
    weights: Path
    val_loss: float | None

    def __str__(self) -> str:
        if self.inpainter == "sdxl":
            return f"LoRA: {self.weights}; use it: synthesize --inpainter sdxl --set sdxl.loras=[{self.run}]"
        return (
            f"Best model: {self.weights} (validation loss {self.val_loss:.4f}); use it: synthesize --inpainter compact "
            f"--model {self.run}"
        )


def adapt(
    data: Path | str,
    out: Path | str,
    *,
    split: Split | Path | str | None = None,
    settings: Settings | None = None,
    reviews: Path | str | None = None,
    reviewed: Sequence[Path | str] = (),
    seed: int = 0,
    progress: bool = True,
) -> Adapted:
    """Teach the inpainter of `settings.synthesis` what lesions look like in the training cases of a split, or go on.

    Without a `split` it is the dataset's own, by group where groups are known; it is kept in `out`.
    Without `settings` they are those of the preset compact. Validation cases judge it; it never sees a test case. With
    a file of `reviews` a compact inpainter learns from the samples in the `reviewed` synthetic folders too, each as
    much as reviewers rated it.

    Raises SyndiffError for settings that cannot be, or have no effect here, and for an inpainter to start from that may
    have seen held-out cases.

    >>> adapted = syndiff.adapt("my-polyps", "runs/inpainter", settings=settings)
    >>> learned = syndiff.load_settings("compact", values={"synthesis.model": str(adapted.run)})
    """
    settings, out = settings_or_default(settings), Path(out)
    dataset, split, grammar = _ready(data, split, out, settings, progress=progress)
    rated = _rated(settings, reviews, reviewed, dataset, split)
    if settings.synthesis.inpainter == "sdxl":
        file = adapt_sdxl(dataset, split, out, grammar=grammar, settings=settings, seed=seed, progress=progress)
        return Adapted(out, "sdxl", file, None)
    start = _start(settings, split)
    best = adapt_compact(
        dataset,
        split,
        out,
        grammar=grammar,
        model_settings=start.settings(settings) if start else settings.inpainter,
        settings=settings.adapt,
        seed=seed,
        start=start,
        rated=rated,
        progress=progress,
    )
    return Adapted(out, "compact", best, score_of(best))


def plan_adaptation(
    data: Path,
    out: Path,
    *,
    split: Split | Path | None,
    settings: Settings,
    reviews: Path | None = None,
    reviewed: Sequence[Path] = (),
) -> str:
    """What `adapt` would learn, in words; nothing is written."""
    dataset, found, grammar = _ready(data, split, out, settings, dry=True)
    rated = _rated(settings, reviews, reviewed, dataset, found)
    if settings.synthesis.inpainter == "sdxl":
        return f"{found}\n{plan_sdxl(dataset, found, grammar=grammar, settings=settings)}"
    start = _start(settings, found)
    model = start.settings(settings) if start else settings.inpainter
    plan = plan_compact(dataset, found, grammar=grammar, model_settings=model, settings=settings.adapt, start=start)
    return f"{found}\n{rated}\n{plan}" if rated else f"{found}\n{plan}"


def _ready(
    data: Path | str,
    given: Split | Path | str | None,
    out: Path,
    settings: Settings,
    *,
    dry: bool = False,
    progress: bool = True,
) -> tuple[Dataset, Split, Grammar]:
    chosen = settings.synthesis
    timed = chosen.inpainter == "compact" and settings.adapt.minutes > 0
    check_use(
        settings, f"adapt --inpainter {chosen.inpainter}", "adapt while adapt.minutes is above 0" if timed else None
    )
    whole = open_checked(Path(data), progress=progress)
    split = find_split(whole, given, out, dry=dry)
    dataset = class_of(whole, split.train, chosen.paints)
    if dataset is not whole:
        log.info(f"the inpainter learns the class {dataset.targets[0]}")
    return dataset, split, Grammar.for_dataset(dataset, chosen.prompts)


def _start(settings: Settings, split: Split) -> Start | None:
    """The compact inpainter to go on from, if the settings name one."""
    return Start.open(settings.synthesis.model, split) if settings.synthesis.model else None


def _rated(
    settings: Settings, reviews: Path | str | None, reviewed: Sequence[Path | str], dataset: Dataset, split: Split
) -> Rated | None:
    """The samples that reviewers rated, if there are any to learn from."""
    if not both_given(reviews, reviewed) or not reviews:
        return None
    if settings.synthesis.inpainter == "sdxl":
        raise SyndiffError("--reviews has no effect with the inpainter sdxl; leave it out, or adapt compact.")
    return rated_samples(Path(reviews), [Path(folder) for folder in reviewed], dataset, split)


def adapt_sdxl(
    dataset: Dataset,
    split: Split,
    out: Path,
    *,
    grammar: Grammar,
    settings: Settings,
    seed: int,
    progress: bool = True,
) -> Path:
    """Fine-tune a diffusion pipeline with LoRA on the training cases of `split`, or go on; returns the LoRA file.

    Validated, with pictures, on validation cases; it never sees a test case.
    """
    from syndiff.models.pipeline_folder import DEFAULT_MODEL
    from syndiff.training.lora import adapt_lora

    chosen, lora = settings.synthesis, settings.lora
    if lora.random_masks and not lora.background_caption:
        lora = replace(lora, background_caption=grammar.background.text)
    with claimed_run(out, "adapt"):
        file = adapt_lora(
            out,
            dataset=dataset,
            case_ids=split.train,
            captions=caption_cases(dataset, (*split.train, *split.val), grammar, progress=progress),
            model=chosen.model or DEFAULT_MODEL,
            revision=chosen.revision or None,
            variant=settings.sdxl.variant or None,
            probe_ids=split.val,
            settings=lora,
            seed=seed,
            progress=progress,
        )
        Seen.of(dataset, split.train, split.val).write(out)
    split.write(out / "split.json")  # beside the LoRA, for whoever asks what it has seen
    return file


def plan_sdxl(dataset: Dataset, split: Split, *, grammar: Grammar, settings: Settings) -> str:
    """What `adapt_sdxl` would learn, in words; a pipeline on this disk is checked, none is fetched."""
    from syndiff.models.pipeline_folder import DEFAULT_MODEL, find_pipeline

    chosen, lora = settings.synthesis, settings.lora
    model = chosen.model or DEFAULT_MODEL
    if expanded(model).is_dir():
        find_pipeline(model, chosen.revision or None, settings.sdxl.variant or None)
        model += ", complete on this disk"
    captions = caption_cases(dataset, split.train, grammar, progress=True)
    return (
        f"{len(split.train)} training cases, such as {next(iter(captions.values()))!r}; {len(split.val)} validation "
        f"cases\npipeline {model}\nLoRA of rank {lora.rank} on {', '.join(lora.targets)}: {lora.steps} steps of "
        f"{lora.batch_size} crops at {lora.resolution} pixels\nnothing was written"
    )


def caption_cases(
    dataset: Dataset, case_ids: Iterable[str], grammar: Grammar, *, progress: bool = False
) -> dict[str, str]:
    """Caption of each case: the dataset's own, or what is measured on it."""
    cases = [dataset[case_id] for case_id in sorted(case_ids)]
    return {
        case.id: case.caption or caption_case(dataset, case, grammar).text
        for case in tqdm(cases, desc="captions", unit="case", disable=not progress)
    }


def plan_compact(
    dataset: Dataset,
    split: Split,
    *,
    grammar: Grammar,
    model_settings: InpaintingSettings,
    settings: AdaptSettings,
    start: Start | None = None,
) -> str:
    """What `adapt_compact` would learn, in words."""
    check_adaptation(dataset, split, grammar, model_settings, fetch=False)
    lesions = caption_lesions(dataset, (*split.train, *split.val), grammar, progress=True)
    training = [caption for case_id in split.train for _, caption in lesions[case_id]]
    example = f", such as {training[0]!r}" if training else ""
    model = initialise_inpainter(model_settings, _vocabulary(grammar, lesions, start), 0)
    parameters = sum(value.numel() for value in model.parameters() if value.requires_grad)
    origin = f", from the weights of {start.checkpoint}" if start else ""
    return (
        f"{len(training)} captioned lesions of {len(split.train)} training cases{example}\n"
        f"{len(split.val)} validation cases\n"
        f"{len(model.vocabulary)} words, {parameters / 1e6:.1f} M trained parameters, "
        f"{asked(settings.steps, settings.minutes)} of {settings.batch_size} crops at "
        f"{model_settings.crop_size} pixels{origin}\nnothing was written"
    )


def adapt_compact(
    dataset: Dataset,
    split: Split,
    out: Path,
    *,
    grammar: Grammar,
    model_settings: InpaintingSettings,
    settings: AdaptSettings,
    seed: int,
    start: Start | None = None,
    rated: Rated | None = None,
    progress: bool = True,
) -> Path:
    """Train a compact inpainter on the training cases of `split`, or go on; returns its best checkpoint.

    With `start`, which tells `model_settings`, it goes on from those weights; `rated` samples join the training cases.
    It is validated on the split's validation
    cases and never sees a test case.
    """
    check_machine(settings)
    check_adaptation(dataset, split, grammar, model_settings, fetch=True)
    train_lesions = caption_lesions(dataset, split.train, grammar, progress=progress)
    val_lesions = caption_lesions(dataset, split.val, grammar, progress=progress)
    vocabulary = _vocabulary(grammar, {**train_lesions, **val_lesions}, start)
    captions = _hash_of(train_lesions, val_lesions)
    about = _about(dataset, split, grammar, captions, start, rated)
    network = {**asdict(model_settings), "channels": list(model_settings.channels)}
    network["autoencoder"] = in_full(model_settings.autoencoder)
    config = {"seed": seed, "learned_from": about, "inpainter": network, "adapt": asdict(settings)}
    with claimed_run(out, "adapt"):
        check_run(out, config)
        if _is_finished(out, settings):  # crops take a minute to encode
            return best_checkpoint(out)
        autoencoder = load_autoencoder(model_settings.autoencoder, revision=model_settings.autoencoder_revision or None)
        autoencoder = autoencoder.to(default_device())
        open_run(out, config)
        if start:
            start.keep_splits(out)
        split.write(out / "split.json")
        seen = Seen.of(dataset, split.train, split.val) | (Seen.read(start.run) if start else None)
        (seen | (rated.seen if rated else None)).write(out)
        crops = {
            training: LesionCrops(dataset, lesions, background=grammar.background.text, progress=progress)
            for training, lesions in ((True, train_lesions), (False, val_lesions))
        }
        for folder, weights in rated.sources if rated else ():
            found = caption_lesions(folder, weights, grammar, progress=progress)
            crops[True].add(folder, found, weights, progress=progress)
        train, val = (
            encode_crops(
                crops[training],
                autoencoder,
                count=settings.crops if training else PROBES,
                size=model_settings.crop_size,
                settings=settings,
                entropy=(seed, int(training)),
                augment=training,
                progress=progress,
            )
            for training in (True, False)
        )

        given: dict[str, Any] = {"train": train, "val": val, "vocabulary": vocabulary, "about": about, "seed": seed}

        def task(steps: int) -> InpaintingTask:
            chosen = replace(settings, steps=steps)
            return InpaintingTask(model_settings, chosen, **given, start=start.model if start else None)

        def alone() -> dict[str, Task]:
            return {_NAME: task(settings.steps)}

        plans = plan_trainings(out / PLAN, alone, [_NAME], settings, minutes=settings.minutes)
        if not steps_done(out):
            log.info(in_words(plans, alone, settings))
        return train_planned(out, _NAME, task, settings, plans[_NAME], seed=seed, progress=progress)


def _about(
    dataset: Dataset, split: Split, grammar: Grammar, captions: str, start: Start | None, rated: Rated | None
) -> dict[str, Any]:
    """What config.yaml and model.json say that an inpainter learned from."""
    return {
        "dataset": split.dataset,
        "name": dataset.name,
        "split": split.hash,
        "train": len(split.train),
        "prompts": grammar.describe(),
        "background": grammar.background.text,
        "captions": captions,
        **({"start": start.about} if start else {}),
        **({"reviews": rated.about} if rated else {}),
    }


def _vocabulary(grammar: Grammar, lesions: Lesions, start: Start | None) -> list[str]:
    """Every word of the grammar's captions and of those that the dataset brings, after those that `start` knows."""
    captions = (caption for found in lesions.values() for _, caption in found)
    words = sorted({*grammar.vocabulary, *(word for caption in captions for word in tokenize(caption))})
    return start.vocabulary(words) if start else words


def _is_finished(run: Path, settings: AdaptSettings) -> bool:
    """Whether the last checkpoint has all the steps, which are planned once where minutes were asked for."""
    done = steps_done(run)
    return done > 0 and done == (read_plans(run / PLAN, [_NAME])[_NAME].steps if settings.minutes else settings.steps)


def _hash_of(*lesions: Lesions) -> str:
    """Hexadecimal SHA-256 of every case's captions."""
    return digest([{case: [text for _, text in found] for case, found in sorted(each.items())} for each in lesions])
