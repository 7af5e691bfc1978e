"""Checkpoints: written whole or not at all, described by their own JSON, safetensors only.

`last` and `best` are files that hold the name of a checkpoint's folder. The folders appear whole, and before the
pointers move: the newest one is always as good to go on from as the one that `last` names.
"""

import contextlib
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syndiff.documents import Kinds, check_object, read_object
from syndiff.errors import SyndiffError, listed, shown
from syndiff.files import write_record, write_text
from syndiff.models.stored import DESCRIPTION, WEIGHTS, read_description, write_model

if TYPE_CHECKING:  # finding a checkpoint needs no torch
    from torch import Tensor

log = logging.getLogger("syndiff")

_NAME = re.compile(r"[0-9]{6,18}")
_PARTIAL = re.compile(r"\.[0-9]{6,18}\.partial")
_SCORES = ("val_dice", "val_loss")
"""What model.json calls the score of the validation at its step."""


def save_checkpoint(
    run: Path,
    step: int,
    *,
    weights: "Mapping[str, Tensor]",
    description: dict[str, Any],
    state: "Mapping[str, Tensor]",
    progress: dict[str, Any],
    best: bool,
) -> None:
    """Write checkpoints/<step>/ and let `last` (and `best`) point to it; older ones that nothing points to go.

    `weights` and `description` are the model as it is used; `state` (tensors) and `progress` (JSON) are what training
    needs to go on. The folder appears under its name only when complete, the pointers move after that.
    """
    folder = run / "checkpoints"
    building = folder / f".{step:06d}.partial"
    if building.exists():
        shutil.rmtree(building)
    from syndiff.models.tensors import write_tensors

    try:
        write_model(building, weights, description)
        digest = write_tensors(building / "training_state" / "state.safetensors", state)
        write_record(building / "training_state" / "progress.json", {**progress, "sha256": digest})
    except BaseException:  # a full disk: give back what was taken
        shutil.rmtree(building, ignore_errors=True)
        raise
    final = folder / f"{step:06d}"
    if final.exists():  # left by a run that was killed before the pointer moved
        shutil.rmtree(final)
    building.replace(final)
    if best:
        write_text(folder / "best", final.name)
    write_text(folder / "last", final.name)
    go_on_from(run)


def go_on_from(run: Path, *, tidies: bool = True) -> Path | None:
    """The checkpoint that a training goes on from, None before the first; call it with the run folder claimed.

    With `tidies` the checkpoints that no pointer names and those that a kill left half-written are removed, all else
    stays, and a pointer that was lost is written again. Raises SyndiffError as `find_checkpoint` does, before anything
    is removed.
    """
    last, best = find_checkpoint(run, "last"), find_checkpoint(run, "best")
    if last is not None and best is not None and int(best.name) > int(last.name):
        last = best  # a kill came between the moves of the two pointers
    if tidies:
        folder = run / "checkpoints"
        for pointer, found in (("last", last), ("best", best)):
            path = folder / pointer
            if found is not None and not (path.is_file() and path.read_text(encoding="utf-8").strip() == found.name):
                write_text(path, found.name)
        _sweep(folder, {found.name for found in (last, best) if found is not None})
    return last


def _sweep(folder: Path, kept: set[str]) -> None:
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        ours = path.name not in kept and (_NAME.fullmatch(path.name) or _PARTIAL.fullmatch(path.name))
        if ours and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def find_checkpoint(run: Path, pointer: str) -> Path | None:
    """Folder that `last` or `best` points to, or None before the first checkpoint (the first validation).

    Where the pointer's file is gone, and what it named is certain, that is taken and said. Raises SyndiffError where
    it is not certain, and for a pointer to something that is no checkpoint.
    """
    path = run / "checkpoints" / pointer
    try:
        name = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return _newest(run) if pointer == "last" else _best_of_all(run)
    folder = path.parent / name
    if not _NAME.fullmatch(name) or not all((folder / file).is_file() for file in (DESCRIPTION, WEIGHTS)):
        others = _names(run)
        mend = f"write {others[-1]}, the newest one there, into that file" if others else "train in another folder"
        raise SyndiffError(
            f"{path} points to {shown(name)}, which is not a checkpoint there. Restore that folder, or {mend}."
        )
    return folder


def best_checkpoint(run: Path) -> Path:
    """The best checkpoint of a training. Raises SyndiffError where there is none."""
    checkpoint = find_checkpoint(run, "best")
    if checkpoint is None:
        mend = "give a run folder of `syndiff train` or one arm of `syndiff run`"
        if (run / "export.json").is_file():
            mend = "it is an export: give the run that it was made from"
        elif arms := segmenters_in(run):
            mend = (
                f"it is the folder of a whole run, whose models are {listed(arms)}: give one, such as {run / arms[0]}"
            )
        raise SyndiffError(f"{run} holds no trained model (no checkpoints/best); {mend}.")
    return checkpoint


def segmenters_in(run: Path) -> list[str]:
    """Names of the folders in `run` that hold a trained segmenter, sorted; an inpainter is none."""
    found = []
    for path in sorted(run.glob("*/checkpoints/best")):
        arm = path.parents[1]
        with contextlib.suppress(SyndiffError):  # a damaged one is told when it is given
            checkpoint = find_checkpoint(arm, "best")
            if checkpoint and "postprocessing" in read_description(checkpoint, {}):
                found.append(arm.name)
    return found


def score_of(checkpoint: Path) -> float:
    """The score of a checkpoint that was validated. Raises SyndiffError where its model.json holds none."""
    described = read_description(checkpoint, {})
    name = next((name for name in _SCORES if name in described), _SCORES[0])
    return float(read_description(checkpoint, {name: float})[name])


def steps_done(run: Path) -> int:
    """Steps of a training up to its last checkpoint; 0 before the first."""
    last = find_checkpoint(run, "last")
    return int(last.name) if last else 0


def trained_for(run: Path) -> float:
    """Seconds that the steps of a training took up to its last checkpoint, without validation; 0 before the first."""
    last = find_checkpoint(run, "last")
    return float(_read_progress(last, {"seconds": float})["seconds"]) if last else 0.0


def load_state(checkpoint: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Tensors and JSON that training goes on from. Raises SyndiffError where they are damaged or do not belong here."""
    from syndiff.models.tensors import read_tensors

    folder = checkpoint / "training_state"
    progress = _read_progress(checkpoint, {"step": int, "seconds": float})
    if progress["step"] != int(checkpoint.name):
        raise SyndiffError(
            f"{folder / 'progress.json'} is of step {progress['step']}, not of the checkpoint {checkpoint.name}. "
            "Restore the files that belong together."
        )
    return read_tensors(folder / "state.safetensors", sha256=progress.get("sha256")), progress


def _names(run: Path) -> list[str]:
    """Names of the checkpoints in a run folder, whether a pointer names them or not; the newest last."""
    folder = run / "checkpoints"
    names = (path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()
    return sorted((name for name in names if _NAME.fullmatch(name)), key=int)


def _newest(run: Path) -> Path | None:
    """What to go on from without `last`: a kill may have come before it was written, or somebody removed it."""
    names = _names(run)
    if not names:
        return None
    found = run / "checkpoints" / names[-1]
    log.warning(f"{run / 'checkpoints' / 'last'} is missing; the newest checkpoint there, {found.name}, is taken.")
    return found


def _best_of_all(run: Path) -> Path | None:
    """What `best` named, by the score that the newest checkpoint remembers; None before the first validation."""
    last = find_checkpoint(run, "last")
    if last is None or not (last / "training_state").is_dir():
        return None  # nothing there, or a model that somebody copied without what training needs
    best = _read_progress(last, {}).get("best")
    if best is None:
        return None
    path = run / "checkpoints" / "best"
    for name in _names(run):  # of equal scores the first is the best
        described = read_description(path.with_name(name), {})
        if best in (described.get(score) for score in _SCORES):
            log.warning(f"{path} is missing; {name}, whose score is the best one that {last.name} knows of, is taken.")
            return path.with_name(name)
    raise SyndiffError(
        f"{path} is missing, and none of the checkpoints there has the best score so far, {best:.6g}. Restore that "
        f"checkpoint, or write the name of another one, such as {last.name}, into that file."
    )


def _read_progress(checkpoint: Path, kinds: Kinds) -> dict[str, Any]:
    path = checkpoint / "training_state" / "progress.json"
    progress = read_object(path, kinds)
    optional: Kinds = {"best": (float, type(None)), "journal_lines": int}
    return check_object(path, progress, {name: kind for name, kind in optional.items() if name in progress})
