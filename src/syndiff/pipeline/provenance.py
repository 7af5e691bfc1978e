"""Who may see what: every rule that keeps held-out cases away from what is judged on them.

A split has training, validation and test cases. A segmenter learns from training cases, is chosen on validation cases
and is judged on test cases. So nothing else that stands behind it may have seen more. What each rule refuses:

| rule | what | refused where |
|---|---|---|
| `check_inpainter` | an inpainter, what it started from, a LoRA | it saw held-out cases, or was chosen on test cases |
| `check_elsewhere` | `synthesis.backgrounds` and `synthesis.lesions` | one of their pictures is a held-out case |
| `check_gate_segmenter` | the segmenter of the gate `agreement` | the same, or it saw synthetic cases too |
| `open_synthetic` | a synthetic folder to train on | a case, or its picture, is not of the training cases |
| `check_synthetic_inpainter` | the same folder's inpainter | it may have learned from held-out cases |
| `check_own_test` | a run, judged on its split's test cases | its split or its dataset is another one |
| `check_external` | a run, judged on another dataset | it, or what stands behind it, has seen a picture there |
| `calibration_cases` | a run, calibrated on either | the same, or its split lets a patient lie on both sides |
| `check_shards` | shards, to be merged | their frames are not those of the dataset any more |

A picture is known by its content (`syndiff.data.seen`), whatever its name, folder or lossless format. What was made
before that was kept is judged by the names in its split.json. Reviews (`--reviews`) open nothing: they choose among the
cases that these rules have let pass, and correct masks of training cases alone. Weights from elsewhere say nothing of
where they come from and pass: that they saw no held-out case is for their user to know.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.readers import image_content, read_image
from syndiff.data.seen import Seen
from syndiff.data.splits import Split
from syndiff.documents import check_object
from syndiff.errors import SyndiffError
from syndiff.files import expanded
from syndiff.models.stored import learned_from, read_description
from syndiff.pipeline.factories import compact_checkpoint, make_inpainter
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.placement.elsewhere import is_elsewhere, lesion_free, open_lender
from syndiff.training.checkpoints import best_checkpoint
from syndiff.training.run_folder import CONFIG, read_config

START = "start"
"""In a run folder of `adapt`: split.json of the inpainter that it started from, and the same folder of that one."""
log = logging.getLogger("syndiff")


def check_inpainter(settings: Settings, split: Split, dataset: Dataset) -> None:
    """Raise SyndiffError for an inpainter, or a LoRA of it, that `split` does not clear of its held-out cases."""
    chosen = settings.synthesis
    if chosen.inpainter == "copy_paste":
        return  # has no weights
    if chosen.inpainter == "compact":
        checkpoint = compact_checkpoint(chosen.model).resolve()
        learned = learned_from(checkpoint, read_description(checkpoint, {}))
        what = f"synthesis settings: the inpainter {expanded(chosen.model)}"
        check_history(what, run_of(checkpoint), learned, split)
    else:
        for name in settings.sdxl.loras:
            _check_lora(name, split)
    what = f"synthesis settings: the inpainter {chosen.model or chosen.inpainter}"
    refuse_held_out(what, make_inpainter(settings).seen, dataset, split)


def check_elsewhere(settings: Settings, split: Split, dataset: Dataset) -> None:
    """Raise SyndiffError where lesion-free frames, or a dataset that lends its lesions, hold cases of `dataset`.

    No picture that `split` keeps for validation or test may be among them. A lesion-free frame may be no training case
    with a lesion either: that lesion would be in the picture without a label.
    """
    chosen = settings.synthesis
    if chosen.lesions:
        lender = open_lender(expanded(chosen.lesions))
        seen = Seen.of(lender, (case.id for case in lender.cases))
        refuse_held_out(f"synthesis.lesions={chosen.lesions}", seen, dataset, split)
    if not chosen.backgrounds:
        return
    frames = lesion_free(expanded(chosen.backgrounds))
    seen = Seen({image_content(read_image(case.image)): case.image.name for case in frames})
    refuse_held_out(f"synthesis.backgrounds={chosen.backgrounds}", seen, dataset, split)
    for told in seen.among(dataset, split.train):
        case = told.split(" = ")[0]
        if dataset.load(dataset[case])[1].any():
            raise SyndiffError(
                f"synthesis.backgrounds={chosen.backgrounds} holds the picture of the training case {told}, whose mask "
                "marks a lesion: it would stay in the synthetic case without a label. Remove that frame there."
            )


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


def check_gate_segmenter(settings: Settings, split: Split, dataset: Dataset) -> Path | None:
    """The best checkpoint of the run that `gates.segmenter` names, if it names one and the gates are on.

    Raises SyndiffError unless that run's own split shows that it was trained on nothing but real cases of this one's
    training side.
    """
    if settings.gates.mode == "off" or not settings.gates.segmenter:
        return None
    run = expanded(settings.gates.segmenter)
    what = f"gates settings: segmenter {run}"
    checkpoint = best_checkpoint(run)
    _refuse_leak(what, run, split)
    if seen := Seen.read(run):
        refuse_held_out(what, seen, dataset, split)
    about = data_of(run)
    if "synthetic" not in about:
        raise SyndiffError(
            f"{what} is no run folder of `syndiff train` (its config.yaml does not say what it was trained on). Give "
            "one, or an arm of `syndiff run`."
        )
    if about["synthetic"] != "none":
        raise SyndiffError(
            f"{what} was trained on synthetic cases too, or on those of another dataset, and would pass what resembles "
            "them. Train one on real cases alone: `syndiff train` without --synthetic."
        )
    return checkpoint


def open_synthetic(folder: Path, split: Split, dataset: Dataset) -> Dataset:
    """A synthetic dataset folder, once it shows that it was made from the split's training cases alone.

    Its manifest says so, its cases are the accepted ones there, and no picture of it is one that `split` holds back.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file() or not (folder / "dataset.json").is_file():
        raise SyndiffError(
            f"{folder} is not a finished synthetic dataset: manifest.jsonl and dataset.json must both be there to show "
            "what it was made from. Make it or finish it with `syndiff synthesize`."
        )
    used = {case for s in read_manifest(manifest) if s.accepted for case in (s.source_case, s.mask_source) if case}
    leaked = sorted(case for case in used - set(split.train) if not is_elsewhere(case))
    if leaked:
        raise SyndiffError(
            f"{folder} was made from {len(leaked)} cases outside the split's training cases (first {leaked[0]}); "
            "training on it would leak. Synthesize again with this split."
        )
    accepted = {sample.id for sample in read_manifest(manifest) if sample.accepted}
    if not accepted:
        raise SyndiffError(
            f"{folder} holds no accepted case: the gates refused all of them, as its synthesis.html shows. Synthesize "
            "into another folder with other settings, or with gates.mode=report."
        )
    synthetic = Dataset.open(folder)
    if strange := sorted({case.id for case in synthetic.cases} ^ accepted):
        raise SyndiffError(
            f"{folder} does not hold the accepted cases of its manifest.jsonl: {strange[0]} is in one of the two only "
            f"({len(strange)} such). Remove what `syndiff synthesize` did not make, or synthesize into another folder."
        )
    what = f"{folder}, one of whose pictures is a case itself,"
    refuse_held_out(what, Seen.of(synthetic, accepted), dataset, split)
    return synthetic


def check_synthetic_inpainter(folder: Path, dataset: Dataset, split: Split) -> None:
    """Raise SyndiffError where the inpainter of a synthetic folder may have seen cases that `split` holds back.

    Which cases it has seen an old folder does not tell, only that they may be used with the training cases that it was
    made under: all of these have to be training cases, not just those whose frames were used.
    """
    sample = next(read_manifest(folder / "manifest.jsonl"), None)
    if sample is None:
        return
    if seen := Seen.read(folder):
        refuse_held_out(f"{folder}, or the inpainter that made it,", seen, dataset, split)
    # written before it was told: anything with weights may have learned here
    untold = [split.dataset] if sample.backend["hash"] else []
    if not {split.dataset, dataset.name} & {*sample.backend.get("learned_from", untold)}:
        return
    if sample.setting("sources") != dataset.fingerprint_of(dataset[case_id] for case_id in sorted(split.train)):
        raise SyndiffError(
            f"{folder} was made under other training cases than this split's, by an inpainter that learned from "
            f"{dataset.name}: whether it has seen cases that this split keeps for validation or test cannot be told. "
            "Synthesize again with this split."
        )


def datasets_behind(added: Path) -> set[str]:
    """Names of the datasets behind added cases: those that their inpainter learned from, or the real cases' own."""
    manifest = added / "manifest.jsonl"
    if not manifest.is_file():
        return {Dataset.open(added).name}
    sample = next(read_manifest(manifest), None)  # all have one backend
    if sample is None:
        return set()
    lender = sample.settings.get("lesions")  # none in older manifests
    return {*sample.backend.get("learned_from", ()), *([lender["dataset"]] if lender else ())}


def check_own_test(run: Path, split: Split, dataset: Dataset) -> None:
    """Raise SyndiffError unless `dataset` is the one that `run` was trained on, under its `split`.

    Test cases whose very picture is a training case as well are warned of.
    """
    _check_own(run, split, dataset)
    if known := (Seen.read(run) or Seen()).among(dataset, split.test):
        log.warning(
            f"{len(known)} of {len(split.test)} test cases are pictures that {run} has learned from as well "
            f"(such as {known[0]}): its score is flattered. Remove the copies and split anew."
        )


def _check_own(run: Path, split: Split, dataset: Dataset) -> None:
    if dataset.name != split.dataset and dataset.fingerprint() != split.fingerprint:
        raise SyndiffError(
            f"{run} was trained on {split.dataset}, but {dataset.root} is {dataset.name}; to judge it on all cases of "
            "another dataset, add --external."
        )
    split.check(dataset)
    if data_of(run).get("split", split.hash) != split.hash:
        raise SyndiffError(
            f"{run / 'split.json'} is not the split that {run} was trained under (data.split in config.yaml); "
            "restore it."
        )


def check_external(run: Path, split: Split, dataset: Dataset) -> None:
    """Raise SyndiffError unless `dataset` is another one than that of `run`, and nothing behind the run has seen it."""
    if dataset.fingerprint() == split.fingerprint or folder_name(dataset.name) == folder_name(split.dataset):
        raise SyndiffError(
            f"--external is for another dataset than the one that {run} was trained on, but {dataset.root} is it or "
            f"has its name, {split.dataset}. Leave --external out, or give the other dataset a name of its own in "
            "dataset.json."
        )
    if folder_name(dataset.name) in map(folder_name, data_of(run).get("learned_elsewhere", ())):
        raise SyndiffError(
            f"{run} has learned from {dataset.name} too: cases of it, or made by an inpainter that was taught there, "
            "were added to its training cases. Judge it on a dataset that nothing of it has seen, or judge a run "
            "without the added cases."
        )
    seen = Seen.read(run)
    if seen is None:
        log.warning(
            f"{run} holds no seen.json (an earlier version made it, or somebody removed it): whether it has seen "
            f"cases of {dataset.root} under another name cannot be told."
        )
    elif known := seen.among(dataset, (case.id for case in dataset.cases)):
        raise SyndiffError(
            f"{run} has seen {len(known)} of the {len(dataset.cases)} pictures of {dataset.root} (such as {known[0]}): "
            "it, or an inpainter behind its synthetic cases, was trained or chosen on them. Judge it on a dataset that "
            "nothing of it has seen, or on the test cases of its own split, without --external."
        )


def calibration_cases(run: Path, split: Split, dataset: Dataset, *, external: bool) -> tuple[str, ...]:
    """The cases of `dataset` to calibrate `run` on: its test cases, or all cases of another dataset.

    Raises SyndiffError as `check_own_test` and `check_external` do, and for what a score would only be warned of: a
    guarantee holds for nothing but patients that neither trained nor chose what it is on.
    """
    if external:
        check_external(run, split, dataset)
        if Seen.read(run) is None:
            raise SyndiffError(
                f"{run} holds no seen.json, so that it cannot be told whether it has seen cases of {dataset.root}, and "
                "nothing can be guaranteed. Restore that file, or train again."
            )
        return tuple(case.id for case in dataset.cases)
    _check_own(run, split, dataset)
    if split.leaky:
        raise SyndiffError(
            f"{run} was trained under the split {split.method}, which lets frames of one patient lie on both sides: "
            "its test cases are none that it has not met, and nothing can be guaranteed. Train under a split by group, "
            "or calibrate on another dataset with --external."
        )
    if known := (Seen.read(run) or Seen()).among(dataset, split.test):
        raise SyndiffError(
            f"{len(known)} of {len(split.test)} test cases are pictures that {run} has learned from as well (such as "
            f"{known[0]}), and nothing can be guaranteed. Remove the copies, split anew and train again."
        )
    return split.test


def check_shards(shards: Sequence[Path], origin: Dataset) -> None:
    """Raise SyndiffError where the frames that the shards were made from are not those of `origin` any more."""
    for shard in shards:
        manifest, seen = shard / "manifest.jsonl", Seen.read(shard)
        if seen is None or not manifest.is_file():
            continue  # made before it was kept; or no shard, which `merge` refuses
        sources = {sample.source_case for sample in read_manifest(manifest) if sample.source_case}
        for case in sorted(case for case in sources if not is_elsewhere(case)):
            if origin.content(origin[case]) not in seen.learned:
                raise SyndiffError(
                    f"{shard} was made from other pictures than those of {origin.root}: {case} has changed. Restore "
                    "the dataset that the shards were made from."
                )


def data_of(run: Path) -> Mapping[str, Any]:
    """What config.yaml of a segmenter's run folder says of its data; nothing where there is none."""
    if not (run / CONFIG).is_file():
        return {}
    told = read_config(run).get("data", {})
    return check_object(
        f"{run / CONFIG}: data", told, {"learned_elsewhere": list} if "learned_elsewhere" in told else {}
    )


def folder_name(dataset: str) -> str:
    """A dataset's name as a folder name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in dataset.lower()).strip("-.") or "dataset"


def refuse_held_out(what: str, seen: Seen, dataset: Dataset, split: Split) -> None:
    """Raise SyndiffError where `what` has learned from pictures that `split` holds back, or was chosen on test."""
    leaked = [
        *Seen(seen.learned).among(dataset, (*split.val, *split.test)),
        *Seen(chosen=seen.chosen).among(dataset, split.test),
    ]
    if leaked:
        raise SyndiffError(
            f"{what} has seen pictures that this split keeps for validation or test ({len(leaked)}, such as "
            f"{leaked[0]}); what has seen them leaks. Make it anew with this split."
        )


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


def _refuse_leak(what: str, run: Path, split: Split) -> None:
    """By the names of cases in the split that `run` was made under."""
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
