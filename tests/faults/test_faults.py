"""A short part of `make faults`, and every input that it once found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_fuzz import FOUND, read_strange, targets
from fault_jobs import Base

HERE = Path(__file__).parent


@pytest.mark.slow
def test_a_short_part_of_every_fault_loses_nothing() -> None:
    done = subprocess.run([sys.executable, HERE, "--jobs", "train", "--share", "0.015"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        *("kills", "disk", "clocks", "pairs", "damage", "strange")
    ]


@pytest.mark.parametrize("found", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_input_that_once_did_harm_is_read_or_refused(found: Path, tmp_path: Path) -> None:
    _, read = targets(Base(tmp_path), tmp_path)[found.name.rsplit("-", 2)[0]]
    copy = Path(shutil.copy(found, tmp_path))
    assert read_strange(read, copy) is None
