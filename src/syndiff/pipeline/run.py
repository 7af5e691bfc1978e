"""The main job: inspect, split, train control and segmenters, synthesize, evaluate, report. Every stage resumes."""

import logging
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from syndiff.config.loading import settings_or_default
from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.class_view import class_of
from syndiff.data.contact_sheet import dataset_sheet
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.loading import CaseArrays, load_cases
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.files import expanded
from syndiff.pipeline.adaptation import adapt_compact
from syndiff.pipeline.early import check_adaptation, check_segmenters, check_synthesis
from syndiff.pipeline.evaluation import evaluate_runs
from syndiff.pipeline.factories import make_gates, make_inpainter
from syndiff.pipeline.gap import measure_gap
from syndiff.pipeline.provenance import check_elsewhere, check_gate_segmenter, check_inpainter, open_synthetic
from syndiff.pipeline.splitting import stored_split
from syndiff.pipeline.stages import IDENTIFIED, SYNTHESIS, is_of, may_change, set_aside
from syndiff.pipeline.training import plan_segmenters, train_segmenter
from syndiff.report.arms import BOTH, CONTROL, GAP, INPAINTER, KINDS, REAL, SYNTHETIC
from syndiff.report.build import build_report
from syndiff.report.content import read_content, read_gap
from syndiff.report.synthesis_page import build_synthesis_page
from syndiff.report.words import about_the_gap, table_text, warning_of_the_gap
from syndiff.synthesis.engine import check_prompts, synthesize_cases
from syndiff.synthesis.finish import SynthesisSummary
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.training.checkpoints import steps_done
from syndiff.training.loop import check_machine
from syndiff.training.planning import PLAN, Plan, asked
from syndiff.training.run_folder import check_run, claimed_run, open_run

log = logging.getLogger("syndiff")


@dataclass(frozen=True)
class RunResult:
    """A finished `run`: its folder, its report (one HTML file), and the report's main table as text.

    >>> syndiff.run("my-polyps", "runs/whole", settings=settings).report.name
    'report.html'
    """

    out: Path
    report: Path
    table: str

    def __str__(self) -> str:
        return f"{self.table}\n\nReport: {self.report}"


def run(
    data: Path | str,
    out: Path | str,
    *,
    settings: Settings | None = None,
    split_method: str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> RunResult:
    """Do the whole job on a dataset folder, or go on; the report lies in `out`.

    Arms: the control, the one-step segmenter on real cases, and the same on real and synthetic cases, all trained for
    the same number of steps, or for the same time where `run.minutes` is given. Only the split's training cases are
    shown to the synthesis; the test cases are read once, at the end. Settings of stages that have not begun may differ
    from those that `out` was made with. Without `settings` they are those of the preset compact.

    Raises SyndiffError before `out` is made for everything that settings, split and files can tell; and at the end,
    with the report of the other two arms written, where no synthetic case was accepted.

    >>> result = syndiff.run("my-polyps", "runs/whole", settings=settings)
    >>> print(result.table)  # doctest: +ELLIPSIS
                          control ...
    """
    settings, out = settings_or_default(settings), Path(out)
    job = _checked(Path(data), out, settings, split_method=split_method, seed=seed, fetch=True, progress=progress)
    with claimed_run(out, "run"), log_file(out / "log.txt"):
        job.begin()
        stage(2, "split", split_method)
        job.split.write(out / "split.json")
        log.info(str(job.split))
        size, detail = settings.model.image_size, settings.augmentation.detail
        train_cases = load_cases([(job.dataset, job.split.train)], size, detail=detail, progress=progress)
        val_cases = load_cases([(job.dataset, job.split.val)], size, progress=progress)
        plans = plan_segmenters(out / PLAN, settings, train_cases, told=not steps_done(out / CONTROL))
        job.train(3, CONTROL, plans, train_cases, val_cases)
        job.train(4, REAL, plans, train_cases, val_cases)
        summary = job.synthesize(job.inpainter or job.adapt())
        if summary.accepted:
            synthetic = open_synthetic(out / SYNTHETIC, job.split, job.dataset)
            real = (job.dataset, job.split.train)
            added = (synthetic, [case.id for case in synthetic.cases])
            both = load_cases([real, added], size, detail=detail, progress=progress)
            if settings.run.gap_steps:
                job.measure_gap(synthetic, plans, train_cases, val_cases)
            job.train(7, BOTH, plans, both, val_cases)
        job.evaluate([arm for arm in KINDS if summary.accepted or arm != BOTH])
        result = job.report()
        if not summary.accepted:
            log.info(str(result))
            raise SyndiffError(
                f"no synthetic case was accepted, so {BOTH} was not trained: {summary}. {summary.account.mend()}"
                f"The report {result.report} holds the other arms. Correct the settings of synthesis, gates or the "
                f"inpainter (--set) and give the same command again: it goes on there with a new {SYNTHETIC}/."
            )
    return result


def plan_run(data: Path, out: Path, *, settings: Settings, split_method: str, seed: int) -> str:
    """What `run` would do, in words, after all its checks; nothing is written or downloaded."""
    job = _checked(data, out, settings, split_method=split_method, seed=seed, fetch=False, progress=True)
    training = asked(settings.training.steps, settings.run.minutes)
    learning = asked(settings.adapt.steps, settings.adapt.minutes)
    adaptation = "" if job.inpainter else f", which first learns from the training cases for {learning}"
    steps = settings.run.gap_steps if settings.run.minutes else min(settings.run.gap_steps, settings.training.steps)
    gap = f"a look at their domain gap: {steps:,} steps on them alone, and as many on real cases\n" if steps else ""
    return (
        f"{job.split}\n"
        f"three segmenters at {settings.model.image_size} pixels (control, real, real + synthetic), {training} each, "
        f"{torch.get_num_threads()} threads\n"
        f"{job.count} synthetic cases with {settings.synthesis.inpainter}{adaptation}\n"
        f"{gap}"
        f"{''.join(_there_already(out))}"
        f"nothing was written (dry run of {job.dataset.name})"
    )


def _there_already(out: Path) -> Iterator[str]:
    """Lines on what an earlier `run` left in `out`, if it began: the same command does the rest."""
    if not (out / "split.json").is_file():
        return
    yield f"already in {out}, and kept:\n"
    for arm in (CONTROL, REAL, INPAINTER, BOTH):
        if done := steps_done(out / arm):
            yield f"  {arm}: {done:,} steps\n"
    manifest = out / SYNTHETIC / "manifest.jsonl"
    if manifest.is_file() and (accepted := sum(sample.accepted for sample in read_manifest(manifest))):
        yield f"  {SYNTHETIC}: {accepted} accepted cases\n"
    for path in sorted(out.glob("*/eval/*/summary.json")):
        yield f"  {path.relative_to(out)}\n"
    report = out / "report.html"
    yield (
        f"  {report.name}: the run is finished\n"
        if report.is_file()
        else "  no report yet: it would go on from there\n"
    )


def _checked(
    data: Path, out: Path, settings: Settings, *, split_method: str, seed: int, fetch: bool, progress: bool
) -> "_Job":
    """The job, once nothing about it can be refused any more; `fetch` says whether weights may be downloaded."""
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
    dataset = open_checked(data, whole=True, progress=progress)
    split = stored_split(dataset, out / "split.json", method=split_method, seed=seed)
    painted = class_of(dataset, split.train, settings.synthesis.paints)
    grammar = Grammar.for_dataset(painted, settings.synthesis.prompts)
    if inpainter:
        check_prompts(grammar, inpainter)
    config = settings.recorded()
    if settings.run.minutes:
        del config["training"]["steps"]  # plan.json has the steps
    config = {"data": str(data), "split": split_method, "seed": seed, **config}
    job = _Job(out, dataset, painted, split, settings, grammar, inpainter, seed, progress, config)
    job.check_folder()
    check_elsewhere(settings, split, dataset)
    check_synthesis(painted, split, settings, inpainter, seed=seed)
    if not adapts:
        check_inpainter(settings, split, dataset)
    if expanded(settings.gates.segmenter).resolve() not in {(out / arm).resolve() for arm in (CONTROL, REAL)}:
        check_gate_segmenter(settings, split, dataset)  # else it is trained before it judges
    check_segmenters(settings, KINDS.values(), fetch=fetch, targets=dataset.told_apart)
    if adapts:
        check_machine(settings.adapt)
        check_adaptation(painted, split, grammar, settings.inpainter, fetch=fetch)
    return job


@dataclass(frozen=True)
class _Job:
    """One `run` and its stages. Without an `inpainter` one is taught the training cases first.

    `painted` is the dataset as the inpainter sees it: with the class alone that is painted, where there are several.
    """

    out: Path
    dataset: Dataset
    painted: Dataset
    split: Split
    settings: Settings
    grammar: Grammar
    inpainter: Inpainter | None
    seed: int
    progress: bool
    config: dict[str, Any]

    @property
    def count(self) -> int:
        """Synthetic cases wanted."""
        return max(1, round(self.settings.synthesis.share * len(self.split.train)))

    def check_folder(self) -> dict[str, str]:
        """Settings that differ from those that `out` was made with, in words; SyndiffError where they may not."""
        return check_run(self.out, self.config, may_change=may_change(self.out), identified=IDENTIFIED)

    def begin(self) -> None:
        """Make `out` a run folder of these settings, with a sheet of its cases."""
        synthetic, changed, aside = self.out / SYNTHETIC, self.check_folder(), None
        if synthetic.is_dir() and any(is_of(name, SYNTHESIS) for name in changed):
            aside = set_aside(synthetic)  # before config.yaml says otherwise: a kill must not come between
        open_run(self.out, self.config, may_change=may_change(self.out), identified=IDENTIFIED)
        if changed:
            log.info("settings changed, no stage has used them yet: " + "; ".join(changed.values()))
        if aside:
            log.info(f"{synthetic}, of which nothing was accepted, was renamed {aside.name}")
        dataset_sheet(self.dataset, self.out / "inspection.png", seed=self.seed)

    def train(
        self, number: int, arm: str, plans: Mapping[str, Plan], train_cases: CaseArrays, val_cases: CaseArrays
    ) -> None:
        """Stage `number`: train an arm."""
        plan = plans[KINDS[arm]]
        stage(number, f"train {arm}", f"{plan.steps:,} steps")
        train_segmenter(
            self.out / arm,
            replace(self.settings, model=replace(self.settings.model, kind=KINDS[arm])),
            plan,
            self.split,
            train_cases,
            val_cases,
            synthetic=self.out / SYNTHETIC if arm == BOTH else None,
            seed=self.seed,
            progress=self.progress,
        )

    def adapt(self) -> Inpainter:
        """Teach a compact inpainter the training cases."""
        settings, out = self.settings, self.out / INPAINTER
        stage(5, "adapt", asked(settings.adapt.steps, settings.adapt.minutes))
        adapt_compact(
            self.painted,
            self.split,
            out,
            grammar=self.grammar,
            model_settings=settings.inpainter,
            settings=settings.adapt,
            seed=self.seed,
            progress=self.progress,
        )
        return make_inpainter(replace(settings, synthesis=replace(settings.synthesis, model=str(out))))

    def synthesize(self, inpainter: Inpainter) -> SynthesisSummary:
        """Make the synthetic cases, and their page."""
        settings, out = self.settings, self.out / SYNTHETIC
        stage(6, "synthesize", f"{self.count} cases with {settings.synthesis.inpainter}")
        segmenter = check_gate_segmenter(settings, self.split, self.dataset)
        summary = synthesize_cases(
            self.painted,
            self.split.train,
            inpainter,
            out,
            settings.synthesis,
            count=self.count,
            least=0,
            seed=self.seed,
            grammar=self.grammar,
            gates=make_gates(settings, inpainter, self.painted, self.split, out, segmenter, progress=self.progress),
            progress=self.progress,
        )
        log.info(f"{summary}\n{summary.table}\nto browse them: {build_synthesis_page(out)}")
        if summary.accepted < self.count:
            log.warning(f"Only {summary.accepted} of the {self.count} synthetic cases asked for were accepted.")
        return summary

    def measure_gap(
        self, synthetic: Dataset, plans: Mapping[str, Plan], train_cases: CaseArrays, val_cases: CaseArrays
    ) -> None:
        """Look at the domain gap of the synthetic cases before a whole training relies on them."""
        steps = min(self.settings.run.gap_steps, plans[KINDS[REAL]].steps)
        log.info(f"domain gap: {steps:,} steps on each of synthetic and real cases")
        measure_gap(
            self.out / GAP,
            self.settings,
            self.dataset,
            self.split,
            synthetic,
            train_cases,
            val_cases,
            steps=steps,
            seed=self.seed,
            progress=self.progress,
        )
        gap = read_gap(self.out / GAP / "gap.json")
        if warned := warning_of_the_gap(gap):
            log.warning(f"domain gap: {warned}")
        else:
            log.info(f"domain gap: {about_the_gap(gap)}")

    def evaluate(self, arms: Sequence[str]) -> None:
        """Judge the arms on the test cases, once."""
        stage(8, "evaluate", f"{len(self.split.test)} test cases")
        evaluate_runs(
            [self.out / arm for arm in arms],
            self.dataset,
            self.split.test,
            dataset_fingerprint=self.split.fingerprint,
            tolerance=self.settings.run.tolerance,
            seed=self.seed,
            progress=self.progress,
        )

    def report(self) -> RunResult:
        """Write the report."""
        stage(9, "report", str(self.out / "report.html"))
        report = build_report(self.out, self.dataset)
        table = table_text(read_content(self.out, self.dataset))
        log.info(f"peak memory {peak_memory_gib():.1f} GiB")
        return RunResult(self.out, report, table)


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
