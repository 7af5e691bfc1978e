"""Files are written whole or not at all; a folder belongs to one process and to the verb that made it."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from syndiff.errors import SyndiffError
from syndiff.files import MARK, check_output, claimed, locked, write_bytes, write_output, write_text

KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from syndiff.files import write_parts

def parts():
    yield b"half"
    print("writing", flush=True)
    sys.stdin.read()

write_parts(Path(sys.argv[1]), parts())
"""


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_file_has_the_users_permissions(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "patients.csv", "private")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "patients.csv").stat().st_mode) == 0o600


def test_the_longest_name_that_the_file_system_takes_can_be_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("n" * 251 + ".png"), b"x")
    with pytest.raises(OSError, match="nnn") as refused:
        write_bytes(tmp_path / ("n" * 256), b"x")
    assert "syndiff-" not in str(refused.value), "a temporary name means nothing to a user"


def test_what_is_no_file_is_not_written_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SyndiffError, match="a pipe"):
        write_bytes(tmp_path / "pipe", b"x")
    with pytest.raises(SyndiffError, match="a device"):
        write_bytes(Path("/dev/null"), b"x")
    with pytest.raises(SyndiffError, match="a folder"):
        write_bytes(tmp_path, b"x")


def test_a_single_output_replaces_only_what_the_same_verb_made(tmp_path: Path) -> None:
    path = tmp_path / "sheet"

    def made(start: bytes) -> bool:
        return b"by us" in start

    write_output(path, b"made by us", made_by_us=made, what="a sheet")
    write_output(path, b"made by us, again", made_by_us=made, what="a sheet")
    path.write_bytes(b"an annotation")
    with pytest.raises(SyndiffError, match="not a sheet that this verb made"):
        write_output(path, b"made by us", made_by_us=made, what="a sheet")
    assert path.read_bytes() == b"an annotation"
    with pytest.raises(SyndiffError, match="is a folder"):
        check_output(tmp_path, made_by_us=made, what="a sheet")


@pytest.mark.parametrize("strange", ["thesis.txt", "images/synthetic-000001.png", ".hidden"])
def test_a_folder_with_files_of_others_is_refused_and_left_alone(tmp_path: Path, strange: str) -> None:
    (tmp_path / strange).parent.mkdir(exist_ok=True)
    (tmp_path / strange).write_text("years of work")
    with pytest.raises(SyndiffError, match="holds other files"), claimed(tmp_path, "a run"):
        pass
    assert content(tmp_path) == {strange: b"years of work"}


def test_a_folder_is_taken_again_by_its_own_kind_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for _ in range(2):
        with claimed(folder, "a run"):
            (folder / "result").write_text("1")
    with pytest.raises(SyndiffError, match="is a run, not a study"), claimed(folder, "a study"):
        pass
    (folder / MARK).unlink()
    with pytest.raises(SyndiffError, match="other files"), claimed(folder, "a run"):
        pass
    with claimed(folder, "a run", known=lambda path: (path / "result").is_file()):
        pass
    assert (folder / MARK).is_file()


def test_a_claim_that_came_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match="no"), claimed(tmp_path / "a" / "b", "a run"):
        raise SyndiffError("no")
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    with claimed(tmp_path / "mine", "a run"):
        pass
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_lock_ends_with_its_context_and_keeps_only_others_out(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path / "new"):
            with pytest.raises(SyndiffError, match=f"in use by process {os.getpid()}"), locked(tmp_path / "new"):
                pass
            with locked(tmp_path / "other"):
                pass
        assert not (tmp_path / "new").exists()  # nothing was written into it


def test_a_folder_in_use_can_be_waited_for(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path / "one", wait=True):
            order.append("second")

    with locked(tmp_path / "one"):
        waiting = Thread(target=second)
        waiting.start()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"] and not (tmp_path / "one" / ".lock").exists()


def test_what_a_kill_left_half_written_is_swept_but_not_what_a_living_process_writes(tmp_path: Path) -> None:
    def start(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(folder / "file")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout and process.stdout.readline() == "writing\n"
        return process

    with claimed(tmp_path, "a run"):
        (tmp_path / "sub").mkdir()
        (tmp_path / "result").write_text("1")
    killed, living = start(tmp_path / "sub"), start(tmp_path / "sub")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(list((tmp_path / "sub").iterdir())) == 2
    with claimed(tmp_path, "a run"):
        assert len(list((tmp_path / "sub").iterdir())) == 1
    living.communicate("")
    assert content(tmp_path / "sub") == {"file": b"half"}
