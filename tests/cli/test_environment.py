"""What the system around SynDiff does to it: signals, locales, full disks, odd paths. A sentence, never a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

VERBS = [
    "run --data d --out o",
    "demo --out o",
    "data inspect --data d",
    "data split --data d --out o",
    "adapt --data d --split s --out o",
    "synthesize --data d --split s --out o --count 1",
    "train --data d --split s --out o",
    "evaluate --run r --data d",
    "predict --run r --images d --out o",
    "study low-data --data d --out o",
    "study baselines --data d --out o",
    "study steering --data d --split s --out o",
    "study steps --runs r --data d --out o",
    "study timesteps --runs r --data d --out o",
    "study uncertainty --runs r --data d --out o",
    "study ratio --data d --out o",
    "study leak --data d --out o",
    "study ablation --data d --out o",
    "study transfer --data d e --out o",
    "study robustness --runs r --data d --out o",
    "study prompts --data d --split s --out o",
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_a_seed_that_no_generator_takes_is_refused(verb, seed, syndiff):
    outcome = syndiff(*verb.split(), "--seed", seed)
    assert outcome.status == 2 and f"--seed is {seed}; expected a whole number from 0 to" in outcome.err


PATHS = {
    "a loop": "loop",
    "below a loop": "loop/deeper",
    "a link to nowhere": "dangling",
    "NUL": "a\0b",
    "no such user": "~nosuchuser/x",
    "too long": "x" * 300,
    "below a file": "file/x",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with links that lead nowhere."""
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("gone")
    Path("file").write_text("hello", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize(
    "verb",
    [
        "run --data PATH --out new",
        "data inspect --data PATH",
        "data inspect --data phantom --out PATH",
        "data split --data PATH --out new",
        "data split --data phantom --out PATH",
        "data caption --data phantom --prompts PATH",
        "data caption --data phantom --out PATH",
        "data fetch kvasir-seg --accept-licence --archive PATH --out new",
        "data fetch kvasir-seg --accept-licence --archive phantom --out PATH",
        "data import --from coco PATH --out new",
        "data import --from masks phantom --out PATH",
        "data export --to coco --data PATH --out new",
        "train --data phantom --split PATH --out new",
        "settings --config PATH",
        "merge PATH --data phantom --out new --count 1",
        "evaluate --run PATH --data phantom",
        "predict --run PATH --images phantom/images --out new",
        "predict --run phantom --images PATH --out new",
        "study steps --runs PATH --data phantom --out new",
    ],
)
@pytest.mark.usefixtures("here", "phantom")
def test_a_path_that_leads_nowhere_is_a_sentence(verb, path, syndiff):
    before = sorted(str(each) for each in Path().rglob("*"))
    outcome = syndiff(*(path if word == "PATH" else word for word in verb.split()))
    assert outcome.status == 2 and outcome.err.count("syndiff: ") == 1
    assert sorted(str(each) for each in Path().rglob("*")) == before


@pytest.mark.parametrize("value", ["a\0b", "a\x07b", "~nosuchuser/x"])
@pytest.mark.usefixtures("here")
def test_a_path_among_the_settings_too(value, syndiff):
    outcome = syndiff("data", "caption", "--data", "phantom", "--prompts", value)
    assert outcome.status == 2
    outcome = syndiff("settings", "--set", f"synthesis.prompts={value}")
    assert outcome.status == (0 if value.startswith("~") else 2)


def test_a_tilde_that_the_shell_left_is_the_home_directory(phantom, syndiff, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    assert syndiff("data", "split", "--data", phantom, "--out", "~/s.json").status == 0
    assert [path.name for path in home.iterdir()] == ["s.json"]


def test_the_folder_of_a_demo_has_a_name(syndiff):
    for out in (".", "/"):
        outcome = syndiff("demo", "--out", out)
        assert outcome.status == 2 and "a name of its own" in outcome.err
    assert (outcome := syndiff("demo", "--out", "")).status == 2 and "--out is empty" in outcome.err


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=200
    )


MAIN = "import sys; sys.argv = ['syndiff', 'settings', 'model']; from syndiff.__main__ import main; main()"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, "LC_ALL=C.UTF-8"),
        ({"PYTHONOPTIMIZE": "2"}, "PYTHONOPTIMIZE=2"),
    ],
)
def test_an_interpreter_that_cannot_do_it_is_refused(environment, said):
    done = python(MAIN, **environment)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_without_assertions_it_works_as_well():
    assert "model.image_size" in python(MAIN, PYTHONOPTIMIZE="1", PYTHONIOENCODING="ascii").stdout


STRUCK = """
import os, signal, sys
if {cpu}:
    signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.{name}))
    signal.setitimer(signal.ITIMER_PROF, {cpu})
sys.argv = {argv!r}
from syndiff.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("cpu", [0.02, 0.1, 0.3, 0.6, 1.0])
def test_a_signal_at_any_moment_is_no_crash(name, cpu, phantom, tmp_path):
    """Counted in seconds of computing, so that the moments are the same on a busy machine."""
    argv = ["syndiff", "data", "split", "--data", str(phantom), "--out", str(tmp_path / "s.json")]
    done = python(STRUCK.format(cpu=cpu, name=name, argv=argv))
    number = getattr(signal, name)
    ended = -signal.SIGPROF  # the timer's own, once the interpreter has taken its handlers down
    assert done.returncode in (-number, 128 + number, 0, ended), done.stderr
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
    if done.returncode == 128 + number:
        assert done.stderr.splitlines()[-1] == "Stopped. Nothing was written." and not (tmp_path / "s.json").exists()


def test_a_second_signal_ends_the_cleaning_up():
    code = """
import signal
from syndiff.cli.interruption import Interruption
with Interruption():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        signal.raise_signal(signal.SIGINT)
"""
    done = python(code)
    assert done.returncode == -signal.SIGINT and not done.stderr


def test_a_disk_that_is_full_names_the_users_file(tmp_path):
    """A limit on the size of files stands for the disk."""
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
from syndiff.cli import data, main
from syndiff.files import write_bytes
from pathlib import Path
data.Inspect.run = lambda self: write_bytes(self.out, bytes(100))
main(["data", "inspect", "--data", "d", "--out", {str(tmp_path / "sheet.png")!r}])
"""
    done = python(code)
    assert done.returncode == 2
    assert done.stderr.startswith(f"syndiff: {tmp_path / 'sheet.png'}: the file would be larger than")
    assert not list(tmp_path.iterdir())
