"""Input that nobody meant: good files changed at random; every reader answers, or refuses in words."""

import faulthandler
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fault_jobs import Base
from PIL import Image

FOUND = Path(__file__).with_name("found")
"""Inputs that once did harm, read again by the tests: `<target>-<number>.<suffix>`."""

MEMORY, SECONDS = 4 << 30, 20
"""What one input may take: bytes of address space beyond those of the start, and seconds."""

STRANGE = [b"", b"\0", b"\xff" * 8, b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'"', b"\n", b",", b"9" * 400]
STRANGE += [
    b"[" * 2000,
    b"\xf0\x9f\xa6\x86",
    b"\xef\xbb\xbf",
    b"../../x",
    b"!!python/object:os.system",
    b"\x00\x00\x00\x80",
]

FORMATS = ("dicom", "nifti", "video")
"""Readers whose libraries are extras."""

Reader = Callable[[Path], Any]


def targets(base: Base, scratch: Path) -> dict[str, tuple[list[Path], Reader]]:
    """Every reader by name, with good files to begin with."""
    from syndiff.config.loading import load_settings
    from syndiff.data.dataset import Dataset
    from syndiff.data.readers import read_image, read_stored_mask
    from syndiff.data.splits import Split
    from syndiff.evaluation.evaluate import read_per_case
    from syndiff.models.prediction import load_segmenter
    from syndiff.reviews.store import ReviewStore
    from syndiff.synthesis.manifest import read_manifest

    def beside(folder: Path, place: str, read: Reader) -> Reader:
        """Read a copy of `folder` in which the file stands at `place`."""
        copy = scratch / f"beside-{os.getpid()}"

        def reader(path: Path) -> Any:
            if not copy.is_dir() or (copy / "of").read_text(encoding="utf-8") != f"{folder}":
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(folder, copy / "x")
                (copy / "of").write_text(f"{folder}", encoding="utf-8")
            whole = (copy / "x" / place).read_bytes() if (copy / "x" / place).exists() else None
            shutil.copyfile(path, copy / "x" / place)
            try:
                return read(copy / "x")
            finally:
                (copy / "x" / place).unlink()
                if whole is not None:
                    (copy / "x" / place).write_bytes(whole)

        return reader

    def store(path: Path) -> Any:
        with ReviewStore(path, read_only=True) as opened:
            return list(opened.events())

    found: dict[str, tuple[list[Path], Reader]] = {
        "image": (_images(scratch / "images"), read_image),
        "mask": (_masks(scratch / "masks"), read_stored_mask),
        "split": ([base.split], Split.read),
        "settings": (_settings(scratch / "settings"), lambda path: load_settings(config=path)),
        "manifest": ([base.made / "manifest.jsonl"], lambda path: list(read_manifest(path))),
        "per-case": (sorted(base.folder.rglob("per_case.csv")), read_per_case),
        "reviews": ([_reviews(scratch / "reviews.db")], store),
        "table": ([base.data / "groups.csv"], beside(base.data, "groups.csv", Dataset.open)),
        "dataset": ([base.data / "dataset.json"], beside(base.data, "dataset.json", Dataset.open)),
    }
    best = next((base.model / "checkpoints").glob("0*"), base.model)
    for name in ("model.json", "model.safetensors"):
        found[name] = ([best / name], beside(best, name, load_segmenter))
    return {**found, **_formats(scratch / "formats")}


def _images(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8))
    for ending in ("png", "jpg", "tif", "bmp", "webp"):
        picture.save(folder / f"picture.{ending}")
    Image.fromarray(np.arange(480, dtype=np.uint16).reshape(24, 20)).save(folder / "deep.png")
    picture.convert("P").save(folder / "palette.png")
    picture.save(folder / "squeezed.tif", compression="tiff_lzw")
    return sorted(folder.iterdir())


def _masks(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    mask = np.zeros((24, 20), np.uint8)
    mask[5:12, 4:15] = 255
    for ending in ("png", "tif", "bmp"):
        Image.fromarray(mask).save(folder / f"mask.{ending}")
    Image.fromarray(mask).convert("1").save(folder / "one-bit.tif")
    Image.fromarray(mask).convert("P").save(folder / "palette.png")
    Image.fromarray(mask).convert("LA").save(folder / "alpha.png")
    return sorted(folder.iterdir())


def _settings(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    (folder / "settings.yaml").write_text(
        "model:\n  image_size: 96\n  objective: v\ntraining:\n  steps: 100\n  learning_rate: 0.001\n"
        "gates:\n  checks: [seam, noise]\naugmentation:\n  scale: [0.8, 1.25]\n",
        encoding="utf-8",
    )
    return [folder / "settings.yaml"]


def _reviews(path: Path) -> Path:
    from syndiff.reviews.store import ReviewStore

    with ReviewStore(path):
        pass
    return path


def _formats(folder: Path) -> dict[str, tuple[list[Path], Reader]]:
    """DICOM, NIfTI and video, each where its library is installed."""
    folder.mkdir(exist_ok=True)
    from syndiff.inference.formats.opening import open_source

    def frames(path: Path) -> int:
        return sum(1 for _ in open_source(path).frames())

    samples = np.random.default_rng(0).integers(0, 256, (16, 12), np.uint8)
    found: dict[str, tuple[list[Path], Reader]] = {}
    if find_spec("pydicom"):
        from dicoms import write_dicom

        found["dicom"] = ([write_dicom(folder / "one.dcm", samples)], frames)
    if find_spec("nibabel"):
        import nibabel

        nibabel.save(nibabel.Nifti1Image(samples[..., None], np.eye(4)), folder / "one.nii")
        found["nifti"] = ([folder / "one.nii"], frames)
    if find_spec("av"):
        from videos import pictures, write_video

        write_video(folder / "one.mp4", pictures(4))
        found["video"] = ([folder / "one.mp4"], frames)
    return found


def mutated(content: bytes, random: Random) -> bytes:
    """`content` with one to four changes: bits, bytes, cuts, doublings, and what stands in `STRANGE`."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(changed) + 1)
        way = random.randrange(6)
        if way == 0 and place < len(changed):
            changed[place] ^= 1 << random.randrange(8)
        elif way == 1 and place < len(changed):
            changed[place] = random.randrange(256)
        elif way == 2:
            del changed[place : place + random.choice((1, 2, 4, 16, 256))]
        elif way == 3:
            changed[place:place] = random.choice(STRANGE)
        elif way == 4:
            changed[place:place] = changed[place : place + random.choice((1, 8, 64))]
        else:
            changed = changed[:place]
    return bytes(changed)


def read_strange(read: Reader, path: Path) -> str | None:
    """What goes wrong where `path` is read; None where it is read, or refused as a user's mistake is."""
    from syndiff.errors import SyndiffError

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        read(path)
    except SyndiffError as error:
        return None if str(error).strip() else "refused without a word"
    except OSError as error:
        return None if error.filename else f"OSError without a name: {error}"
    except BaseException:  # whatever it is
        return "".join(traceback.format_exc().splitlines(keepends=True)[-6:])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return None


def _work(name: str, base: Base, scratch: Path, seconds: float, seed: int, report: Path) -> None:
    """Read strange input for so long; the report has counts and what went wrong after each input."""
    logging.disable()
    warnings.simplefilter("ignore")  # Pillow's, of each damaged tag
    faulthandler.enable()
    files, read = targets(base, scratch)[name]
    current = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (current + MEMORY, current + MEMORY))
    random, until = Random(f"{seed} {name}"), time.monotonic() + seconds
    contents = [(file.suffix, file.read_bytes()) for file in files]
    count, wrong = 0, dict[str, str]()
    while time.monotonic() < until and len(wrong) < 5:
        suffix, content = random.choice(contents)
        path = scratch / f"strange-{name}{suffix}"
        path.write_bytes(mutated(content, random))
        report.write_text(json.dumps({"count": count, "wrong": wrong, "reading": True}), encoding="utf-8")
        fault = read_strange(read, path)
        count += 1
        if fault and fault not in wrong.values():
            FOUND.mkdir(exist_ok=True)
            kept = FOUND / f"{name}-{seed}-{count}{suffix}"
            shutil.copyfile(path, kept)
            wrong[kept.name] = fault
    report.write_text(json.dumps({"count": count, "wrong": wrong, "reading": False}), encoding="utf-8")


def fuzz(base: Base, scratch: Path, *, seconds: float, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Every reader for its part of `seconds`, in a process of its own: inputs by reader, and what went wrong."""
    names = [name for name, (files, _) in targets(base, scratch).items() if files]
    done: dict[str, Any] = {name: "its library is not installed" for name in FORMATS if name not in names}
    wrong = list[str]()
    for name in names:
        report = scratch / f"fuzz-{name}.json"
        arguments = (name, base, scratch, seconds / len(names), seed, report)
        process = multiprocessing.get_context("forkserver").Process(target=_work, args=arguments)
        process.start()
        process.join()
        told: Mapping[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        done[name] = told["count"]
        wrong += [f"{file}: {fault}" for file, fault in told["wrong"].items()]
        if process.exitcode or told["reading"]:
            ended = f"{name}: the process ended with status {process.exitcode}"
            for path in scratch.glob(f"strange-{name}.*"):
                FOUND.mkdir(exist_ok=True)
                shutil.copyfile(path, FOUND / f"{name}-{seed}-crash{path.suffix}")
            wrong.append(ended)
    return done, wrong
