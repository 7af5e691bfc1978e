"""Does a refactoring change a number? The same small jobs at two revisions on this machine, compared value by value.

    make same REV=<commit>

Runs the command line of REV and of the working tree on a small phantom: a whole run with its own inpainter and gates, a
training with each objective, a LoRA on a tiny SDXL pipeline and a synthesis with it, copy and paste, evaluation and
prediction. Compares losses, validation scores, weights, pictures, manifests, bounds of gates and scores of cases.
Times, versions, paths and hashes over settings are left out. A key or a setting that was renamed since REV stands in
`syndiff/renamed.py`; a value that changes or is lost is a failure, and so is a new row of a table. Other new values are
counted by file.
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
PICTURES = {".png", ".tif", ".jpg"}
LEFT_OUT = {"seconds", "versions", "prompts", "hash", "captions", "split", "fingerprint", "weights", "sources"}
LEFT_OUT |= {"per_case", "crc32"}  # of a table that has times, and of everything beside it
"""Keys whose values are times, versions, or hashes that cover the names of settings."""

sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from syndiff import renamed  # noqa: E402

OLDEST = {"probe_loss": "val_loss", "smallest_crop": "min_crop", "--views": "--tta"}
"""Keys of files, and an option, that were renamed together with the first settings."""

ADDED = (
    "lora/checkpoints/*",
    "copied/split.json:*",
    "painted/split.json:*",
    "*per_case.csv:*:disagreement",
    *(f"lora/metrics.jsonl:*:{key}" for key in ("images", "lr", "losses.latent")),
)
"""Facts that a REV of before `renamed.py` has not, or not under these names: a LoRA's checkpoints and metrics are those
of every training, a synthetic folder keeps its split, and an evaluation the disagreement of its views."""

TRAIN = ["model.image_size=32", "training.coarse_share=0", "training.batch_size=4", "model.denoiser_channels=16"]
TRAIN += ["model.condition_channels=16", "training.validate_every=4", "training.checkpoint_every=4"]
STEPS = ["training.steps=8"]
INPAINTER = [
    "inpainter.crop_size=64",
    "inpainter.channels=[32, 32, 32]",
    "inpainter.caption_layers=1",
    "compact.steps=2",
]
ADAPT = ["adapt.minutes=0", "adapt.steps=6", "adapt.crops=16", "adapt.batch_size=2", "adapt.warmup_steps=1"]
LORA = [
    "lora.rank=2",
    "lora.steps=4",
    "lora.resolution=64",
    "lora.batch_size=2",
    "lora.warmup_steps=1",
    "lora.picture_steps=0",
]
SDXL = ["sdxl.resolution=64", "sdxl.steps=2", "gates.mode=report"]


def jobs(data: Path, pipeline: Path, out: Path) -> Iterator[list[str]]:
    """The command lines, in the words of the working tree, each after those whose results it needs."""
    split, given = str(out / "split.json"), ["--data", str(data)]
    yield ["data", "split", *given, "--out", split]
    run = [*TRAIN, *STEPS, "run.minutes=0", "synthesis.share=0.3", *INPAINTER, *ADAPT, "gates.quantile=0.001"]
    yield ["run", *given, "--out", str(out / "run"), "--set", *run]
    for objective in ("z0", "v", "noise+latent"):
        schedule = ["model.zero_terminal_snr=false"] if objective == "noise+latent" else []
        chosen = [*TRAIN, *STEPS, f"model.objective={objective}", *schedule]
        yield ["train", *given, "--split", split, "--out", str(out / f"train-{objective}"), "--set", *chosen]
    yield ["evaluate", *given, "--run", str(out / "train-v")]
    images = ["--images", str(data / "images"), "--tta", "1"]
    yield ["predict", "--run", str(out / "train-z0"), *images, "--out", str(out / "predicted")]
    made = [*given, "--split", split, "--count", "3"]
    yield ["synthesize", *made, "--out", str(out / "copied"), "--inpainter", "copy_paste"]
    sdxl = ["--inpainter", "sdxl", "--model", str(pipeline)]
    yield ["adapt", *given, "--split", split, "--out", str(out / "lora"), *sdxl, "--set", *LORA]
    loras = f"sdxl.loras=[{out / 'lora'}]"
    yield ["synthesize", *made, "--out", str(out / "painted"), *sdxl, "--set", *SDXL, loras]


def renamed_since(tree: Path) -> dict[str, str]:
    """Settings (section.name) and keys of files as the sources of `tree` call them, and as the working tree does."""
    if not (tree / "src" / "syndiff" / "renamed.py").is_file():
        return {**renamed.RENAMED, **OLDEST}
    script = "import json; from syndiff.renamed import RENAMED; print(json.dumps(RENAMED))"
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    known = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return {before: now for before, now in renamed.RENAMED.items() if before not in json.loads(known.stdout)}


def run_jobs(tree: Path, data: Path, pipeline: Path, out: Path, renamed: dict[str, str]) -> None:
    """Run every job with the sources of `tree`; one that fails ends the comparison."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    for job in jobs(data, pipeline, out):
        words = [_translated(word, renamed) for word in job]
        done = subprocess.run(
            [sys.executable, "-m", "syndiff", *words], capture_output=True, text=True, env=environment, cwd=out
        )
        if done.returncode:
            sys.exit(f"{tree}: syndiff {' '.join(words)} failed:\n{done.stderr[-3000:]}")


def _translated(word: str, renamed: dict[str, str]) -> str:
    name, equals, value = word.partition("=")
    return f"{renamed.get(name, name)}{equals}{value}"


def facts(out: Path, renamed: dict[str, str]) -> dict[str, Any]:
    """Every value of a folder of results that must not change, by a name that says where it stands."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix in PICTURES and path.name not in ("contact_sheet.png", "inspection.png"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name in ("metrics.jsonl", "manifest.jsonl"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                found |= {f"{name}:{number}:{key}": value for key, value in _flat(json.loads(line), renamed)}
        elif path.name in ("gates.json", "acceptance.json", "summary.json", "split.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            found |= {f"{name}:{key}": value for key, value in _flat(content, renamed)}
        elif path.name == "per_case.csv":
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    found |= {f"{name}:{row['case']}:{key}": value for key, value in _flat(row, renamed)}
        elif path.suffix == ".safetensors" and "training_state" not in path.parts:
            for tensor, value in load_file(path).items():
                found[f"{name}:{tensor}"] = hashlib.sha256(value.tobytes()).hexdigest()
    return found


def _flat(content: Any, renamed: dict[str, str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key not in LEFT_OUT:
                yield from _flat(value, renamed, f"{prefix}{renamed.get(key, key)}.")
    elif isinstance(content, list) and any(isinstance(item, dict) for item in content):
        for number, item in enumerate(content):
            yield from _flat(item, renamed, f"{prefix}{number}.")
    elif not (isinstance(content, str) and content.startswith("/")):
        yield prefix.removesuffix("."), content


def row_of(name: str) -> str:
    """File and row of a value, where its file has rows."""
    file, _, rest = name.partition(":")
    return f"{file}:{rest.partition(':')[0]}" if file.endswith((".jsonl", ".csv")) else ""


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is lost or not the same, in words; what is new is no difference, but for rows of a file that was there."""
    lines = [f"only at REV: {name}" for name in sorted(before.keys() - now.keys())]
    rows, files = ({*map(row_of, before)}, {name.partition(":")[0] for name in before})
    new = {row_of(name) for name in now.keys() - before.keys() if name.split(":")[0] in files} - rows
    lines += [f"only now: {row}" for row in sorted(each for each in new if each)]
    both = sorted(before.keys() & now.keys())
    return lines + [f"{name}: {before[name]} at REV, {now[name]} now" for name in both if before[name] != now[name]]


def prepare(folder: Path) -> tuple[Path, Path]:
    """A phantom and a tiny SDXL pipeline, the same for both revisions."""
    from syndiff.phantom import write_phantom
    from tiny_pipelines import save_tiny_pipeline

    write_phantom(folder / "phantom", groups=8, frames=2, height=96, width=112, seed=0)
    return folder / "phantom", save_tiny_pipeline(folder / "pipeline")


def main(args: Sequence[str] | None = None) -> None:
    """Compare, print, exit with 1 where a value has changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the commit to compare the working tree with")
    options = parser.parse_args(args)
    with tempfile.TemporaryDirectory(prefix="same-") as temporary:
        folder = Path(temporary)
        data, pipeline = prepare(folder)
        tree = folder / "rev"
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "-q", "--detach", str(tree), options.revision], check=True
        )
        names_of_rev = renamed_since(tree)
        old = "probe_loss" in names_of_rev
        backwards = {now: before for before, now in names_of_rev.items()}
        try:
            trees = {"before": (tree, backwards), "now": (ROOT, dict[str, str]())}
            for name in trees:
                (folder / name).mkdir()
            with ThreadPoolExecutor(2) as pool:
                waiting = [
                    pool.submit(run_jobs, source, data, pipeline, folder / name, names)
                    for name, (source, names) in trees.items()
                ]
                for each in waiting:
                    each.result()
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)
        before, now = (
            {n: value for n, value in found.items() if not (old and any(fnmatch(n, pattern) for pattern in ADDED))}
            for found in (facts(folder / "before", names_of_rev), facts(folder / "now", {}))
        )
    changed = differences(before, now)
    new = Counter(name.partition(":")[0] for name in now.keys() - before.keys())
    told = [f"new: {count} of {name}" for name, count in sorted(new.items())]
    compared = f"{len(before)} values of {options.revision}, {len(changed)} differ; {new.total()} are new"
    print("\n".join([*told, *changed[:100], compared]))
    sys.exit(1 if changed else 0)


if __name__ == "__main__":
    main()
