"""How the command line reads what is typed."""

import pytest

from syndiff.cli import main


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
