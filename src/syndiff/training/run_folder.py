"""A run folder says what made it; the same command resumes it, a changed setting is refused."""

import contextlib
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from syndiff import __version__
from syndiff.documents import OWN, check_object, dump_yaml, read_yaml
from syndiff.errors import SyndiffError, unquoted
from syndiff.files import claimed, write_json, write_text
from syndiff.renamed import settings_now

_LIBRARIES = (
    *("accelerate", "diffusers", "kornia", "numpy", "peft", "pillow", "safetensors", "scipy"),
    *("timm", "torch", "transformers"),
)

CONFIG = "config.yaml"
"""In a run folder: every setting that made it."""

MayChange = Callable[[str], bool]
"""Whether a setting, as section.name, may differ from the one that a run folder was made with."""


FOR_PEOPLE = ("data",)
"""Where the dataset lay."""


def nothing_may(_: str) -> bool:
    """No setting may."""
    return False


@contextlib.contextmanager
def claimed_run(run: Path, verb: str) -> Iterator[None]:
    """Hold the run folder of `syndiff <verb>` while the context lasts, against all but the processes of one training.

    Of these the main one claims it before any of them goes on; where it may not, none does. Raises SyndiffError for a
    folder in use, and for one that another verb or somebody else made.
    """
    with contextlib.ExitStack() as stack:
        refused: list[str | None] = [None]
        if this_process().is_main_process:
            try:
                made = claimed(
                    run, f"a run folder of `syndiff {verb}`", known=lambda folder: (folder / CONFIG).is_file()
                )
                stack.enter_context(made)
            except SyndiffError as error:
                refused = [str(error)]
        if reason := broadcast_object_list(refused)[0]:
            raise SyndiffError(reason)
        yield


def this_process() -> Accelerator:
    """This process among those that `accelerate launch` or torchrun started, and its device."""
    return Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")


def open_run(
    run: Path,
    config: Mapping[str, Any],
    argv: Sequence[str] = (),
    *,
    may_change: MayChange = nothing_may,
    identified: Sequence[str] = (),
    for_people: Sequence[str] = FOR_PEOPLE,
) -> None:
    """Create `run` with config.yaml, command.txt and environment.json where `check_run` finds no run there yet.

    Of one that is there, config.yaml is written anew where settings changed that `may_change`.

    Call it once nothing in `config` can be refused any more: the folder will refuse the corrected settings.
    """
    changed = check_run(run, config, may_change=may_change, identified=identified, for_people=for_people)
    if (run / CONFIG).is_file():
        if changed:
            write_text(run / CONFIG, dump_yaml(dict(config)))
        return
    write_json(run / "environment.json", environment())
    command = list(argv or sys.argv)
    name = Path(command[0]).name.replace("__main__.py", "syndiff")  # `python -m syndiff`
    write_text(run / "command.txt", shlex.join([name, *command[1:]]) + "\n")
    write_text(run / CONFIG, dump_yaml(dict(config)))


def check_run(
    run: Path,
    config: Mapping[str, Any],
    *,
    may_change: MayChange = nothing_may,
    identified: Sequence[str] = (),
    for_people: Sequence[str] = FOR_PEOPLE,
) -> dict[str, str]:
    """Check that `run` was made with `config`, or that there is no run yet; writes nothing.

    Returns what changed among the settings that `may_change`, in words by name. The top-level entries `for_people` are
    not compared: the split knows the dataset by its content. So it is with the settings `identified` elsewhere, as long
    as one is given there and here. Other folders and files are the same where they lie in the same place.

    Raises SyndiffError when the folder holds other settings (every difference is shown), or something else altogether.
    """
    path = run / CONFIG
    if path.is_file():
        stored = read_config(run)
        before, now = dict(_flat(stored)), dict(_flat(config))
        words = {
            name: f"{name}: {_word(before, name)} there, {_word(now, name)} here"
            for name in sorted(before.keys() | now.keys())
            if name not in for_people and not _same(before.get(name), now.get(name), identified=name in identified)
        }
        refused = [text for name, text in words.items() if not may_change(name)]
        if refused:
            told = "; ".join(refused[:8])
            raise SyndiffError(
                f"{run} was made with other settings ({told}). Use the same settings to resume it, or another --out."
                + (" What is absent, another version of syndiff did not have." if "absent" in told else "")
            )
        return words
    # A kill may have left the two files that come before config.yaml.
    begun = {"environment.json", "command.txt"}
    strange = [] if not run.is_dir() else [p.name for p in run.iterdir() if p.name not in begun and p.name[0] != "."]
    if strange or (run.exists() and not run.is_dir()):
        holds = f"it holds {min(strange)}" if strange else "it is a file"
        raise SyndiffError(
            f"{run} exists and is not a run folder (no config.yaml; {holds}); give an empty or new folder as --out."
        )
    return {}


def _same(before: Any, now: Any, *, identified: bool) -> bool:
    """Whether two values of a setting mean the same: equal, two paths to one place, or two that are told elsewhere."""
    if before == now or (identified and before and now):
        return True
    if not (isinstance(before, str) and isinstance(now, str) and before and now):
        return False
    there, here = Path(before).expanduser(), Path(now).expanduser()
    return there.exists() and here.exists() and there.samefile(here)


def read_config(run: Path) -> dict[str, Any]:
    """What config.yaml of a run folder says, under the present names. Raises SyndiffError where it is damaged."""
    return settings_now(check_object(run / CONFIG, read_yaml(run / CONFIG, mend=OWN), {}))


def environment() -> dict[str, Any]:
    """The machine and the libraries that a result depends on."""
    return {
        "syndiff": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _word(settings: Mapping[str, Any], name: str) -> str:
    return unquoted(settings[name]) if name in settings else "absent"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
