"""The command line: one verb, one dataclass with `run()`. Heavy imports happen inside the verb that needs them."""

import errno
import logging
import os
import sys
from typing import Annotated, Any

import tyro

from syndiff.cli.data import Data
from syndiff.cli.jobs import Demo, Doctor, Run, ShowSettings
from syndiff.cli.segmentation import Evaluate, Predict, Train
from syndiff.cli.studies import Study
from syndiff.cli.synthesis import Adapt, Merge, Synthesize
from syndiff.errors import SyndiffError

log = logging.getLogger("syndiff")

Verb = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Adapt, tyro.conf.subcommand("adapt")]
    | Annotated[Synthesize, tyro.conf.subcommand("synthesize")]
    | Annotated[Merge, tyro.conf.subcommand("merge")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[ShowSettings, tyro.conf.subcommand("settings")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main(args: list[str] | None = None) -> None:
    """Parse, run, and turn a user's mistake into one sentence and exit status 2."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    verb: Any = tyro.cli(
        Verb,
        prog="syndiff",
        description="Paint annotated medical images, train a one-step diffusion segmenter, prove what it was worth.",
        args=_settings_together(sys.argv[1:] if args is None else args),
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        verb.run()
    except SyndiffError as error:
        fail(str(error))
    except BrokenPipeError:  # `syndiff settings | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at its end
        sys.exit(1)
    except OSError as error:
        if error.errno not in _USER_OS_ERRORS:
            raise
        fail(_os_sentence(error))
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA_OF:
            raise
        fail(f"{error.name} is not installed; this needs it: pip install 'syndiff[{_EXTRA_OF[error.name]}]'.")
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        sys.exit(130)


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


_EXTRA_OF = {"monai": "controls", "peft": "sdxl", "transformers": "sdxl"}
"""Libraries that not everybody installs, and the extra that brings them."""

_USER_OS_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file would be larger than this system allows; raise the limit or choose another --out",
    errno.EACCES: "permission denied; choose a folder that you may write to, or change its permissions",
    errno.EPERM: "operation not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another --out",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EISDIR: "that is a folder; a file was expected",
    errno.EEXIST: "it exists already and is not a folder; choose another path",
}


def _os_sentence(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{_USER_OS_ERRORS[error.errno or 0]}."


def fail(message: str) -> None:
    """Print the mistake and leave with status 2."""
    print(f"syndiff: {message}", file=sys.stderr)
    sys.exit(2)
