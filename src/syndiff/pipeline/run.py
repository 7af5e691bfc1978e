"""The main job: inspect, split, train control and segmenters, synthesize, evaluate, report. Every stage resumes."""

import logging
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.contact_sheet import dataset_sheet
from syndiff.data.dataset import DatasetFolder
from syndiff.data.inspection import open_checked
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.files import expanded
from syndiff.models.segmenter_settings import Kind, SegmenterSettings
from syndiff.pipeline.adaptation import adapt_compact
from syndiff.pipeline.early import check_adaptation, check_segmenters, check_synthesis
from syndiff.pipeline.evaluation import evaluate_runs
from syndiff.pipeline.factories import make_gates, make_inpainter
from syndiff.pipeline.provenance import check_gate_segmenter, check_inpainter, open_synthetic
from syndiff.pipeline.splitting import stored_split
from syndiff.pipeline.stages import IDENTIFIED, SYNTHESIS, SYNTHETIC, is_of, may_change, set_aside
from syndiff.pipeline.training import plan_segmenters, train_segmenter
from syndiff.report.content import read_content
from syndiff.report.page import build_report
from syndiff.report.synthesis_page import build_synthesis_page
from syndiff.report.words import table_text
from syndiff.synthesis.engine import check_prompts, synthesize_cases
from syndiff.synthesis.grammar import Grammar
from syndiff.training.checkpoints import steps_done
from syndiff.training.loop import check_machine
from syndiff.training.planning import PLAN, asked
from syndiff.training.run_folder import check_run, claimed_run, open_run

log = logging.getLogger("syndiff")
Sources = Sequence[tuple[DatasetFolder, Sequence[str]]]
ARMS: dict[str, Kind] = {"control": "control", "real": "diffusion", "real+synthetic": "diffusion"}


def run_pipeline(
    data: Path, out: Path, settings: Settings, *, split_method: str = "auto", seed: int = 0, dry_run: bool = False
) -> str:
    """Do the whole job on a dataset folder; returns the main table as text, the report lies in `out`.

    Arms: the control, the one-step segmenter on real cases, and the same on real and synthetic cases, all trained for
    the same number of steps, or for the same time where `run.minutes` is given. Only the split's training cases are
    shown to the synthesis; the test cases are read once, at the end.
    Settings of stages that have not begun may differ from those that `out` was made with.

    Raises SyndiffError before `out` is made for everything that settings, split and files can tell; and at the end,
    with the report of the other two arms written, where no synthetic case was accepted.
    """
    # 1. Are the settings, the inpainter and the dataset usable, and how is it divided?
    adapts = settings.synthesis.inpainter == "compact" and not settings.synthesis.model
    check_use(
        settings,
        "run",
        "run (it trains a control and segmenters)",
        None if adapts else "run with an inpainter that is ready to paint",
        "run while adapt.minutes is above 0" if adapts and settings.adapt.minutes else None,
        "run while run.minutes is above 0" if settings.run.minutes else None,
    )
    inpainter = None if adapts else make_inpainter(settings)
    if inpainter:
        inpainter.describe()  # looks for its weights now, not after two trainings
    stage(1, "inspect", str(data))
    dataset = open_checked(data, whole=True)
    grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
    if inpainter:
        check_prompts(grammar, inpainter)
    split = stored_split(dataset, out / "split.json", method=split_method, seed=seed)
    config = settings.recorded()
    if settings.run.minutes:
        del config["training"]["steps"]  # plan.json has the steps
    config = {"data": str(data), "split": split_method, "seed": seed, **config}
    free = may_change(out)
    changed = check_run(out, config, may_change=free, identified=IDENTIFIED)
    check_synthesis(dataset, split, settings, inpainter, seed=seed)
    if not adapts:
        check_inpainter(settings, split, dataset)
    if expanded(settings.gates.segmenter).resolve() not in {(out / arm).resolve() for arm in ("control", "real")}:
        check_gate_segmenter(settings, split, dataset)  # else it is trained before it judges
    check_segmenters(settings, ARMS.values(), fetch=not dry_run)
    if adapts:
        check_machine(settings.adapt)
        check_adaptation(dataset, split, grammar, settings.painter, fetch=not dry_run)
    if dry_run:
        return _plan_in_words(dataset, split, settings)
    with claimed_run(out, "run"), log_file(out / "log.txt"):
        aside = None
        if (out / SYNTHETIC).is_dir() and any(is_of(name, SYNTHESIS) for name in changed):
            aside = set_aside(out / SYNTHETIC)  # before config.yaml says otherwise: a kill must not come between
        open_run(out, config, may_change=free, identified=IDENTIFIED)
        if changed:
            log.info("settings changed, no stage has used them yet: " + "; ".join(changed.values()))
        if aside:
            log.info(f"{out / SYNTHETIC}, of which nothing was accepted, was renamed {aside.name}")
        dataset_sheet(dataset, out / "inspection.png", seed=seed)
        stage(2, "split", split_method)
        split.write(out / "split.json")
        log.info(str(split))

        # 2. The control and the segmenter on real cases alone.
        size = settings.model.image_size
        real: Sources = [(dataset, split.train)]
        train_cases = load_cases(real, size, progress=True)
        val_cases = load_cases([(dataset, split.val)], size, progress=True)
        plans = plan_segmenters(out / PLAN, settings, train_cases, told=not steps_done(out / "control"))

        def train_arm(number: int, arm: str, cases: CaseArrays) -> None:
            plan = plans[ARMS[arm]]
            stage(number, f"train {arm}", f"{plan.steps:,} steps")
            model = replace(settings.model, kind=ARMS[arm])
            train_segmenter(
                out / arm,
                replace(settings, model=model),
                plan,
                split,
                cases,
                val_cases,
                synthetic=out / SYNTHETIC if arm == "real+synthetic" else None,
                seed=seed,
            )

        train_arm(3, "control", train_cases)
        train_arm(4, "real", train_cases)

        # 3. An inpainter for these images, synthetic cases from the training split, and the segmenter on both.
        if inpainter is None:
            stage(5, "adapt", asked(settings.adapt.steps, settings.adapt.minutes))
            adapt_compact(
                dataset,
                split,
                out / "inpainter",
                grammar=grammar,
                model_settings=settings.painter,
                settings=settings.adapt,
                seed=seed,
            )
            learned = replace(settings.synthesis, model=str(out / "inpainter"))
            inpainter = make_inpainter(replace(settings, synthesis=learned))
        count = max(1, round(settings.synthesis.share * len(split.train)))
        stage(6, "synthesize", f"{count} cases with {settings.synthesis.inpainter}")
        summary = synthesize_cases(
            dataset,
            split.train,
            inpainter,
            out / SYNTHETIC,
            settings.synthesis,
            count=count,
            least=0,
            seed=seed,
            grammar=grammar,
            gates=make_gates(
                settings,
                inpainter,
                dataset,
                split,
                out / SYNTHETIC,
                check_gate_segmenter(settings, split, dataset),
            ),
        )
        log.info(f"{summary}\n{summary.table}\nto browse them: {build_synthesis_page(out / 'synthetic')}")
        if summary.accepted < count:
            log.warning(f"Only {summary.accepted} of the {count} synthetic cases that were asked for were accepted.")
        if summary.accepted:
            synthetic = open_synthetic(out / SYNTHETIC, split, dataset)
            both = load_cases([*real, (synthetic, [case.id for case in synthetic.cases])], size, progress=True)
            train_arm(7, "real+synthetic", both)

        # 4. The test cases, once.
        stage(8, "evaluate", f"{len(split.test)} test cases")
        evaluate_runs(
            [out / arm for arm in ARMS if summary.accepted or arm != "real+synthetic"],
            dataset,
            split.test,
            dataset_fingerprint=split.fingerprint,
            tolerance=settings.run.tolerance,
            seed=seed,
        )

        # 5. The report.
        stage(9, "report", str(out / "report.html"))
        report = build_report(out, dataset)
        table = table_text(read_content(out, dataset))
        log.info(f"peak memory {peak_memory_gib():.1f} GiB")
        told = f"{table}\n\nReport: {report}"
        if not summary.accepted:
            log.info(told)
            raise SyndiffError(
                f"no synthetic case was accepted, so real+synthetic was not trained: {summary}. "
                f"{summary.account.mend()}"
                f"The report {report} holds the other arms. Correct the settings of synthesis, gates or the inpainter "
                f"(--set) and give the same command again: it goes on there with a new {SYNTHETIC}/."
            )
    return told


def stage(number: int, name: str, detail: str) -> None:
    """Announce a stage of the pipeline."""
    log.info(f"[{number}/9] {name}: {detail}")


class log_file:
    """Context manager: everything logged is also appended to a file, which is made for the first line."""

    def __init__(self, path: Path) -> None:
        self._make: Callable[[], logging.Handler] = lambda: logging.FileHandler(path, encoding="utf-8", delay=True)

    def __enter__(self) -> None:
        self._handler = self._make()
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self._handler)
        self._handler.close()


def peak_memory_gib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes there, KiB elsewhere


def _plan_in_words(dataset: DatasetFolder, split: Split, settings: Settings) -> str:
    model: SegmenterSettings = settings.model
    count = max(1, round(settings.synthesis.share * len(split.train)))
    training = asked(settings.training.steps, settings.run.minutes)
    adapts = settings.synthesis.inpainter == "compact" and not settings.synthesis.model
    long = asked(settings.adapt.steps, settings.adapt.minutes)
    adaptation = f", which first learns from the training cases for {long}" if adapts else ""
    return (
        f"{split}\n"
        f"three segmenters at {model.image_size} pixels (control, real, real + synthetic), {training} each, "
        f"{torch.get_num_threads()} threads\n"
        f"{count} synthetic cases with {settings.synthesis.inpainter}{adaptation}\n"
        f"nothing was written (dry run of {dataset.name})"
    )
