"""How the command line reads what is typed."""

import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest

from syndiff.cli import main
from syndiff.config.description import meanings_of
from syndiff.config.settings import Settings


@pytest.mark.parametrize(
    "typed",
    [
        ["--set", "gates.mode=off", "synthesis.share=0.5", "--seed", "3"],
        ["--set", "synthesis.share=0.5", "--seed", "3", "--set", "gates.mode=off"],
        ["--set=synthesis.share=0.5", "--set", "gates.mode=off"],
    ],
)
def test_every_setting_counts_however_often_the_flag_is_given(typed, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "synthesize",
                "--data",
                "d",
                "--split",
                "s.json",
                "--out",
                "o",
                "--count",
                "4",
                *typed,
            ]
        )
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "synthesis.share has no effect" in error  # the mistake among the settings is seen


def test_settings_are_shown_with_value_and_meaning(syndiff):
    shown = syndiff("settings", "model", "training", "--set", "model.image_size=256", "training.grad_clip=.inf")
    assert shown.status == 0, shown.err
    assert "model.image_size = 256\n    side in pixels" in shown.out and "training.grad_clip = .inf\n" in shown.out
    assert "training.steps = 1400\n    optimiser steps." in shown.out  # documented in the class that it comes from
    assert "One of noise+latent, z0, v." in " ".join(shown.out.split())
    assert "gates.mode" not in shown.out
    assert "\nrun.minutes = 0.0\n" in syndiff("settings").out
    mistaken = syndiff("settings", "modell")
    assert mistaken.status == 2 and "'modell' (did you mean 'model'?)" in mistaken.err


@pytest.mark.parametrize("section", [item.name for item in fields(Settings) if item.name != "chosen"])
def test_every_setting_is_documented(section):
    owner = get_type_hints(Settings)[section]
    assert meanings_of(owner).keys() == {item.name for item in fields(owner)}


@pytest.mark.parametrize("words", [("settings",), ("study", "ratio", "--help")])
def test_a_reader_that_stops_early_is_no_crash(words):
    command = [sys.executable, "-m", "syndiff", *words]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()
    assert run.stderr.read() == b""
    run.wait()


def test_without_a_standard_output_there_is_no_traceback():
    code = "import sys; sys.stdout = None; from syndiff.cli import main; main(['settings', 'nothing'])"
    run = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr and "nothing" in run.stderr
