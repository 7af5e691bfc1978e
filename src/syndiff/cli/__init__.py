"""The command line: one verb, one dataclass with `run()`. Heavy imports happen inside the verb that needs them."""

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from syndiff.cli.common import check_seed
from syndiff.cli.data import Data
from syndiff.cli.interruption import Interruption, chosen_verb, stopped_sentence
from syndiff.cli.jobs import Demo, Doctor, Run, ShowSettings
from syndiff.cli.reviews import Review
from syndiff.cli.segmentation import Calibrate, Evaluate, Export, Predict, Train
from syndiff.cli.serving import Serve
from syndiff.cli.studies import Study
from syndiff.cli.synthesis import Adapt, Merge, Synthesize
from syndiff.errors import SyndiffError
from syndiff.files import expanded
from syndiff.workers.settings import LOCAL

log = logging.getLogger("syndiff")

Verb = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Adapt, tyro.conf.subcommand("adapt")]
    | Annotated[Synthesize, tyro.conf.subcommand("synthesize")]
    | Annotated[Merge, tyro.conf.subcommand("merge")]
    | Annotated[Review, tyro.conf.subcommand("review")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Calibrate, tyro.conf.subcommand("calibrate")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[ShowSettings, tyro.conf.subcommand("settings")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main(args: list[str] | None = None) -> None:
    """Parse, run, and turn a user's mistake into one sentence and exit status 2."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    _check_interpreter()
    with _reader_may_leave():
        verb = parse(sys.argv[1:] if args is None else args)
        _run(verb)


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """`syndiff settings | head`: where nobody reads on, that is the end, without a traceback."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # closed from the beginning
                sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes
        sys.exit(1)


def _run(verb: Any) -> None:
    chosen = chosen_verb(verb)
    with Interruption() as interruption:
        try:
            if hasattr(chosen, "seed"):
                check_seed(chosen.seed)
            _expand_paths(chosen)
            verb.run()
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if interruption.signal:  # whatever a library or a worker process made of it
                print(f"Stopped. {stopped_sentence(chosen)}", file=sys.stderr)
                sys.exit(128 + interruption.signal)
            sentence = _sentence(error)
            if sentence is None:
                raise
            fail(sentence)


def parse(args: list[str]) -> Any:
    """The verb that `args` describe."""
    _refuse_empty(args)
    return tyro.cli(
        Verb,
        prog="syndiff",
        description="Paint annotated medical images, train a one-step diffusion segmenter, prove what it was worth.",
        args=_settings_together(_with_address(args)),
        config=(
            tyro.conf.OmitSubcommandPrefixes,
            tyro.conf.OmitArgPrefixes,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.DisallowNone,
        ),
    )


def _sentence(error: BaseException) -> str | None:
    """What a user can mend, in words; None for a fault of SynDiff's own."""
    if isinstance(error, SyndiffError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRA_OF:
        return f"{error.name} is not installed; this needs it: pip install 'syndiff[{_EXTRA_OF[error.name]}]'."
    return _path_sentence(error)


def _expand_paths(verb: Any) -> None:
    """~ and ~name in every path of the command line, which the shell leaves in --out=~/x."""
    for item in fields(verb):
        value = getattr(verb, item.name)
        if isinstance(value, Path):
            setattr(verb, item.name, expanded(value))
        elif isinstance(value, tuple) and all(isinstance(each, Path) for each in value):
            setattr(verb, item.name, tuple(map(expanded, value)))


def _check_interpreter() -> None:
    """Names of files and texts are UTF-8, and `--help` and `settings` are made from docstrings."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that this terminal cannot show
    if sys.getfilesystemencoding() != "utf-8":
        fail(
            f"Python reads file names as {sys.getfilesystemencoding()} here, so that names with accents cannot be read "
            "or written; unset PYTHONUTF8, or set LC_ALL=C.UTF-8."
        )
    if sys.flags.optimize > 1:
        fail(
            "PYTHONOPTIMIZE=2 (python -OO) takes the documentation away that --help and settings are made from; unset "
            "it, or set it to 1."
        )


def _refuse_empty(args: list[str]) -> None:
    """An empty argument would be the folder of the process, or nothing: it is a variable of the shell without value."""
    for position, argument in enumerate(args):
        if not argument or (argument.startswith("--") and argument.endswith("=") and argument.count("=") == 1):
            name = argument.rstrip("=") or (args[position - 1] if position else "the first argument")
            fail(f"{name} is empty; is a variable of the shell without value? Give what it should be, or leave it out.")


def _settings_together(args: list[str]) -> list[str]:
    """`--set A --set B` as `--set A B`: the parser would take the last one alone, without a word."""
    rest: list[str] = []
    settings: list[str] = []
    taking = False
    for argument in args:
        if argument.startswith("-"):
            taking = argument == "--set"
        if argument.startswith("--set="):
            settings.append(argument.removeprefix("--set="))
        elif argument != "--set":
            (settings if taking else rest).append(argument)
    return [*rest, "--set", *settings] if settings or "--set" in args else rest


def _with_address(args: list[str]) -> list[str]:
    """`--ray` alone as `--ray local`: the parser knows no option whose value may be missing."""
    following = [*args[1:], "-"]
    alone = [each == "--ray" and after.startswith("-") for each, after in zip(args, following, strict=True)]
    return [text for each, missing in zip(args, alone, strict=True) for text in ((each, LOCAL) if missing else (each,))]


_EXTRA_OF = {
    "av": "video",
    "fastapi": "serve",
    "highdicom": "medical",
    "monai": "baselines",
    "nibabel": "medical",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "openvino": "openvino",
    "peft": "sdxl",
    "pydicom": "medical",
    "ray": "ray",
    "starlette": "serve",
    "transformers": "sdxl",
    "uvicorn": "serve",
}
"""Libraries that not everybody installs, and the extra that brings them."""

_MENDS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file would be larger than this system allows; raise the limit or choose another --out",
    errno.EACCES: "permission denied; choose a folder that you may write to, or change its permissions",
    errno.EPERM: "operation not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another --out",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EISDIR: "that is a folder; a file was expected",
    errno.EEXIST: "it exists already and is not a folder; choose another path",
    errno.ENOENT: "it does not exist, or a link in its path leads nowhere; check the path",
    errno.ELOOP: "links in this path lead in a circle; remove one of them or choose another path",
    errno.ENAMETOOLONG: "this name is longer than the file system allows; choose a shorter one",
    errno.EMFILE: "too many files are open at once; raise the limit (ulimit -n)",
    errno.EIO: "the disk or the network drive reports an error; check it, then run the same command again",
    errno.ESTALE: "the network drive has lost this file; mount it again, then run the same command again",
}


def _path_sentence(error: BaseException) -> str | None:
    """What went wrong between SynDiff and the file system, in words; None for an error of another kind."""
    text = str(error)
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{where}{_MENDS.get(error.errno or 0) or error.strerror or text}."
    if isinstance(error, RuntimeError) and text.startswith("Symlink loop"):  # Path.resolve
        where = text.removeprefix("Symlink loop from ").strip("'")
        return f"{where}: {_MENDS[errno.ELOOP]}."
    if isinstance(error, ValueError) and "null byte" in text:
        return "a path holds a NUL character; write it without."
    return None


def fail(message: str) -> None:
    """Print the mistake and leave with status 2."""
    print(f"syndiff: {message}", file=sys.stderr)
    sys.exit(2)
