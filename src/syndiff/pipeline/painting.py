"""From settings to an inpainter and its gates, and whether what they learned from may be used with a split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syndiff.data.dataset import DatasetFolder
from syndiff.data.seen import Seen
from syndiff.data.splits import Split
from syndiff.documents import check_object
from syndiff.errors import SyndiffError
from syndiff.files import expanded, sha256
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.stored import learned_from, read_description
from syndiff.presets import Settings
from syndiff.synthesis.album import FOREIGN
from syndiff.synthesis.gates.panel import Gates, Painter, Segmenter
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.manifest import read_manifest
from syndiff.training.checkpoints import best_checkpoint, find_checkpoint
from syndiff.training.run_folder import CONFIG, read_config

START = "start"
"""In a run folder of `adapt`: split.json of the inpainter that it started from, and the same folder of that one."""


def make_inpainter(settings: Settings) -> Inpainter:
    """The inpainter that the settings name."""
    chosen = settings.synthesis
    if chosen.inpainter == "copy_paste":
        return CopyPaste()
    if chosen.inpainter == "compact":
        from syndiff.synthesis.inpainters.compact import Compact

        return Compact(compact_checkpoint(chosen.model), settings.compact)
    from syndiff.models.pipeline_folder import DEFAULT_MODEL
    from syndiff.synthesis.inpainters.sdxl import Sdxl

    return Sdxl(chosen.model or DEFAULT_MODEL, revision=chosen.revision or None, settings=settings.sdxl)


def compact_checkpoint(model: str) -> Path:
    """The best checkpoint of an `adapt` run, or `model` itself where it is a checkpoint."""
    how = "teach it your images with `syndiff adapt --data DIR --split FILE --out RUN`, then give --model RUN"
    if not model:
        raise SyndiffError(f"The inpainter compact has no weights of its own: {how}.")
    checkpoint = find_checkpoint(expanded(model), "best") or expanded(model)
    if not (checkpoint / "model.json").is_file():
        raise SyndiffError(
            f"{model} holds no inpainter (neither checkpoints/best, which appears with the first validation, nor "
            f"model.json): {how}."
        )
    return checkpoint


def check_inpainter(settings: Settings, split: Split, dataset: DatasetFolder) -> None:
    """Raise SyndiffError for an inpainter, or a LoRA of it, that `split` does not clear of its held-out cases.

    What `adapt` writes names its split and what it has seen; weights from elsewhere say nothing of where they come from
    and pass.
    """
    chosen = settings.synthesis
    if chosen.inpainter == "compact":
        _check_compact(expanded(chosen.model), split)
    elif chosen.inpainter == "sdxl":
        for name in settings.sdxl.loras:
            _check_lora(name, split)
    if chosen.inpainter != "copy_paste":
        seen = make_inpainter(settings).seen
        seen.refuse_held_out(f"synthesis settings: the inpainter {chosen.model or chosen.inpainter}", dataset, split)


def _check_compact(model: Path, split: Split) -> None:
    checkpoint = compact_checkpoint(str(model)).resolve()
    learned = learned_from(checkpoint, read_description(checkpoint, {}))
    check_history(f"synthesis settings: the inpainter {model}", run_of(checkpoint), learned, split)


def run_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, where it lies in one with the split that names its cases."""
    run = checkpoint.parent.parent
    return run if checkpoint.parent.name == "checkpoints" and (run / "split.json").is_file() else None


def check_history(what: str, run: Path | None, learned: Mapping[str, Any], split: Split) -> None:
    """Raise SyndiffError where an inpainter, or one that it started from, may have seen held-out cases of `split`.

    `learned` is what its model.json says that it learned from, `run` the folder whose split.json names the cases.
    """
    if run is not None and (run / "split.json").is_file():
        _refuse_leak(what, run, split)
    elif learned.get("dataset") in (None, split.dataset) and learned.get("split") != split.hash:
        raise SyndiffError(
            f"{what} is not in the run folder that it was taught in, whose split.json names the cases, and did not "
            "learn under this split: whether it has seen cases that this split keeps for validation or test cannot be "
            "told. Give the whole run folder of `syndiff adapt`, or adapt one with this split."
        )
    if "start" in learned:
        check_history(what, run and run / START, learned["start"]["learned_from"], split)


def _check_lora(name: str, split: Split) -> None:
    what, path = f"sdxl settings: the LoRA {name}", expanded(name).resolve()
    folder = path if path.is_dir() else path.parent
    if not (folder / "lora.json").is_file():
        return  # from elsewhere
    if not (folder / "split.json").is_file():
        raise SyndiffError(
            f"{what} was made by `syndiff adapt`, but split.json, which names the cases that it learned from, is not "
            "beside it: whether it has seen cases that this split keeps for validation or test cannot be told. Copy "
            "it from the run folder, or give the `adapt` command once more, which then only writes it."
        )
    _refuse_leak(what, folder, split)


def make_gates(
    settings: Settings, inpainter: Inpainter, dataset: DatasetFolder, split: Split, out: Path
) -> Gates | None:
    """The gates for samples that go into `out`, calibrated on the split's training (and validation) cases.

    Bounds that lie in `out` already are taken again. None when the gates are off.
    """
    if settings.gates.mode == "off":
        return None
    can = inpainter.capabilities
    return Gates.calibrate(
        dataset,
        split.train,
        settings.gates,
        painter=Painter(margin=can.margin, feather=settings.synthesis.feather, copies=can.copies),
        predictor=_judge_of(settings, split, dataset),
        val_ids=split.val,
        kept=out / "gates.json",
    )


def check_judge(settings: Settings, split: Split, dataset: DatasetFolder) -> Path | None:
    """The best checkpoint of the run that `gates.segmenter` names, if it names one and the gates are on.

    Raises SyndiffError unless that run's own split shows that it was trained on nothing but real cases of this one's
    training side.
    """
    if settings.gates.mode == "off" or not settings.gates.segmenter:
        return None
    run = expanded(settings.gates.segmenter)
    checkpoint = best_checkpoint(run)
    _refuse_leak(f"gates settings: segmenter {run}", run, split)
    if seen := Seen.read(run):
        seen.refuse_held_out(f"gates settings: segmenter {run}", dataset, split)
    about = data_of(run)
    if "synthetic" not in about:
        raise SyndiffError(
            f"gates settings: segmenter {run} is no run folder of `syndiff train` (its config.yaml does not say what "
            "it was trained on). Give one, or an arm of `syndiff run`."
        )
    if about["synthetic"] != "none":
        raise SyndiffError(
            f"gates settings: segmenter {run} was trained on synthetic cases too, or on those of another "
            "dataset, and would pass what resembles them. Train one on real cases alone: `syndiff train` without "
            "--synthetic."
        )
    return checkpoint


def data_of(run: Path) -> Mapping[str, Any]:
    """What config.yaml of a segmenter's run folder says of its data; nothing where there is none."""
    if not (run / CONFIG).is_file():
        return {}
    told = read_config(run).get("data", {})
    return check_object(
        f"{run / CONFIG}: data", told, {"learned_elsewhere": list} if "learned_elsewhere" in told else {}
    )


def _judge_of(settings: Settings, split: Split, dataset: DatasetFolder) -> Segmenter | None:
    checkpoint = check_judge(settings, split, dataset)
    if checkpoint is None:
        return None
    return Segmenter(
        predictor=SegmenterPredictor.load(checkpoint, name=Path(settings.gates.segmenter).name),
        fingerprint=sha256(checkpoint / "model.safetensors"),
    )


def _refuse_leak(what: str, run: Path, split: Split) -> None:
    trained_on = Split.read(run / "split.json")
    learned, chosen_on = set(trained_on.train), set(trained_on.val)
    leaked: set[str] = set()
    if trained_on.fingerprint == split.fingerprint:  # a case that this split leaves out may be of a test patient
        leaked = learned - set(split.train) | chosen_on & set(split.test)
    elif trained_on.dataset == split.dataset:  # the same cases, with groups or images added since
        leaked = learned & {*split.val, *split.test} | chosen_on & set(split.test)
    if leaked:
        raise SyndiffError(
            f"{what} was trained on cases that are not this split's training cases, or chosen on its test cases (such "
            f"as {min(leaked)}); what has seen them leaks. Train one with this split."
        )


def open_synthetic(folder: Path, split: Split, dataset: DatasetFolder) -> DatasetFolder:
    """A synthetic dataset folder, once it shows that it was made from the split's training cases alone.

    Its manifest says so, its cases are the accepted ones there, and no picture of it is one that `split` holds back.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file() or not (folder / "dataset.json").is_file():
        raise SyndiffError(
            f"{folder} is not a finished synthetic dataset: manifest.jsonl and dataset.json must both be there to show "
            "what it was made from. Make it or finish it with `syndiff synthesize`."
        )
    seen = {case for s in read_manifest(manifest) if s.accepted for case in (s.source_case, s.mask_source) if case}
    leaked = sorted(case for case in seen - set(split.train) if not case.startswith(FOREIGN))
    if leaked:
        raise SyndiffError(
            f"{folder} was made from {len(leaked)} cases outside the split's training cases (first {leaked[0]}); "
            "training on it would leak. Synthesize again with this split."
        )
    painted = DatasetFolder.open(folder)
    accepted = {sample.id for sample in read_manifest(manifest) if sample.accepted}
    if strange := sorted({case.id for case in painted.cases} ^ accepted):
        raise SyndiffError(
            f"{folder} does not hold the accepted cases of its manifest.jsonl: {strange[0]} is in one of the two only "
            f"({len(strange)} such). Remove what `syndiff synthesize` did not make, or synthesize into another folder."
        )
    Seen.of(painted, accepted).refuse_held_out(f"{folder}, one of whose pictures is a case itself,", dataset, split)
    return painted


def check_painter(folder: Path, dataset: DatasetFolder, split: Split) -> None:
    """Raise SyndiffError where the inpainter of a synthetic folder may have seen cases that `split` holds back.

    Which cases it has seen the folder does not tell, only that they may be used with the training cases that it was
    painted under: all of these have to be training cases, not just those that were painted into.
    """
    sample = next(read_manifest(folder / "manifest.jsonl"), None)
    if sample is None:
        return
    if seen := Seen.read(folder):
        seen.refuse_held_out(f"{folder}, or the inpainter that painted it,", dataset, split)
    # written before it was told: anything with weights may have learned here
    untold = [split.dataset] if sample.backend["hash"] else []
    if not {split.dataset, dataset.name} & {*sample.backend.get("learned_from", untold)}:
        return
    if sample.setting("sources") != dataset.fingerprint_of(dataset[case_id] for case_id in sorted(split.train)):
        raise SyndiffError(
            f"{folder} was painted under other training cases than this split's, by an inpainter that learned from "
            f"{dataset.name}: whether it has seen cases that this split keeps for validation or test cannot be told. "
            "Synthesize again with this split."
        )
