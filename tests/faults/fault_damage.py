"""Files of every kind that is read, cut or with a bit turned: found or refused, never a silent other result."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fault_jobs import TRAIN, Base, call, content, differences


@dataclass(frozen=True)
class Reading:
    """A verb that reads the files `pattern` below `folder` of a base; `out` is the folder that it writes, if any."""

    name: str
    folder: str
    pattern: str
    words: Sequence[Any]
    out: str = ""


def readings(base: Base) -> list[Reading]:
    """Every kind of file that a verb reads, with the verb. `made` and `model` are folders that are read again."""
    data, split, model, made = base.data, base.split, base.model, base.made
    given = ["--data", data, "--split", split]
    train = ["train", *given, "--out", base.folder / "new", "--set", *TRAIN]
    predict = ["predict", "--run", model, "--images", data / "images", "--out", base.folder / "new", "--tta", 1]
    going = ["train", *given, "--out", model, "--set", *TRAIN]
    more = [
        "synthesize",
        *given,
        "--out",
        made,
        "--inpainter",
        "copy_paste",
        "--count",
        4,
        "--set",
        "gates.mode=report",
    ]
    both = [*train[: -len(TRAIN) - 1], "--synthetic", made, "--set", *TRAIN]
    return [
        Reading("image of a case", "phantom", "images/*", train, "new"),
        Reading("mask of a case", "phantom", "masks/*", train, "new"),
        Reading("dataset.json", "phantom", "dataset.json", train, "new"),
        Reading("groups.csv", "phantom", "groups.csv", train, "new"),
        Reading("split", "", "split.json", train, "new"),
        Reading("image to predict", "phantom", "images/*", predict, "new"),
        Reading("weights", "model", "checkpoints/*/model.safetensors", predict, "new"),
        Reading("model.json", "model", "checkpoints/*/model.json", predict, "new"),
        Reading("training state", "model", "checkpoints/*/training_state/*", going, "model"),
        Reading("record of a run", "model", "*.*", going, "model"),
        Reading("manifest", "made", "manifest.jsonl", both, "new"),
        Reading("synthetic image", "made", "images/*", both, "new"),
        Reading("synthetic folder's record", "made", "*.json*", more, "made"),
    ]


def damage(path: Path, random: Random) -> str:
    """Cut a file, or turn one of its bits: what was done."""
    whole = bytearray(path.read_bytes())
    if random.random() < 0.5 or not whole:
        length = random.randrange(len(whole)) if whole else 0
        path.write_bytes(whole[:length])
        return f"cut to {length} of {len(whole)} bytes"
    place, bit = random.randrange(len(whole)), random.randrange(8)
    whole[place] ^= 1 << bit
    path.write_bytes(whole)
    return f"bit {bit} of byte {place} turned"


def read_damaged(reading: Reading, base: Base, scratch: Path, seed: int) -> tuple[str, list[str]]:
    """Damage one file in a copy of the base and read it: "refused", "same" or "other", and what went wrong.

    A verb may refuse, in words (status 2, or 1 where `predict` leaves the image out and names it), or come to the very
    result of the undamaged file; with a result that differs it must have said which file it found damaged.
    """
    random, copy = Random(seed), Base(scratch / "copy")
    shutil.copytree(base.folder, copy.folder)
    files = sorted((copy.folder / reading.folder).glob(reading.pattern))
    path = random.choice([file for file in files if file.is_file()])
    words = [_moved(word, base, copy) for word in reading.words]
    expected = _expected(reading, base, scratch)
    done = damage(path, random)
    damaged = path.read_bytes()
    what = f"{reading.name} {path.relative_to(copy.folder)}, {done} (seed {seed})"
    status, said = call(words, scratch)
    wrong, kind = [], "refused"
    named = status == 1 and words[0] == "predict" and path.name in said  # an image that cannot be read is left out
    if "Traceback" in said or not (status in (0, 2) or named):
        wrong.append(f"{what}: status {status}: {said[-1500:]}")
    elif status == 0:
        found = _differences(expected, copy.folder / reading.out, path, damaged)
        kind = "other" if found else "same"
        if found and path.name not in said:
            wrong.append(f"{what}: taken for whole, with another result: {found[:2]}")
    elif not said.strip():
        wrong.append(f"{what}: refused without a word")
    shutil.rmtree(copy.folder)
    return kind, wrong


def _differences(expected: dict[str, Any], out: Path, path: Path, damaged: bytes) -> list[str]:
    """What differs, but for the damaged file itself where the verb neither reads nor writes it."""
    if not path.is_relative_to(out) or not path.is_file() or path.read_bytes() != damaged:
        return differences(expected, content(out))
    path.unlink()
    name = str(path.relative_to(out))
    rest = {key: value for key, value in expected.items() if key != name and not key.startswith(f"{name}:")}
    return differences(rest, content(out))


_known: dict[str, dict[str, Any]] = {}


def _expected(reading: Reading, base: Base, scratch: Path) -> dict[str, Any]:
    """What the verb comes to with whole files."""
    if reading.name not in _known:
        copy = Base(scratch / "whole")
        shutil.copytree(base.folder, copy.folder)
        status, said = call([_moved(word, base, copy) for word in reading.words], scratch)
        assert status == 0, f"{reading.name}: {said}"
        _known[reading.name] = content(copy.folder / reading.out)
        shutil.rmtree(copy.folder)
    return _known[reading.name]


def _moved(word: Any, base: Base, copy: Base) -> str:
    return str(word).replace(str(base.folder), str(copy.folder))
