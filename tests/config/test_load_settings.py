"""Settings come from a preset, a file, --set and options; each value is checked by its owner and none is re-read."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.config.loading import load_settings, preset_names
from syndiff.config.settings import Settings, names_of, sections
from syndiff.config.uses import USES, check_use
from syndiff.errors import SyndiffError
from syndiff.renamed import RENAMED, settings_now

LIKE_YAML = [
    "2025-07-15",
    "on",
    "null",
    "~",
    "12",
    "1e3",
    "a: b",
    "- a",
    "[a",
    "{a",
    "#a",
    "a # b",
    "!a",
    "&a",
    "*a",
    "%",
]


@pytest.mark.parametrize("text", LIKE_YAML)
def test_a_text_stays_the_text_that_was_typed(text: str) -> None:
    typed = load_settings(values={"synthesis.model": text})
    written = load_settings(overrides=[f"synthesis.model={text}"])
    assert typed.synthesis.model == written.synthesis.model == text


@given(st.text())
def test_any_option_arrives_as_it_was_given(text: str) -> None:
    assert load_settings(values={"gates.segmenter": text}).gates.segmenter == text


def test_quotes_that_a_shell_left_are_no_part_of_a_text() -> None:
    assert load_settings(overrides=['synthesis.model="a b"']).synthesis.model == "a b"


def test_of_several_the_last_counts_but_an_option_does_not_hide_a_setting() -> None:
    assert load_settings(overrides=["training.steps=5", "training.steps=6"]).training.steps == 6
    with pytest.raises(SyndiffError, match=r"run\.minutes=5: an option gives run\.minutes too, 6\.0; give it once"):
        load_settings(overrides=["run.minutes=5"], values={"run.minutes": 6.0})


def test_earlier_names_are_told_the_present_one(tmp_path: Path) -> None:
    for old, new in RENAMED.items():
        with pytest.raises(SyndiffError, match=f"{old.split('.')[0]}.*it is called {new} now"):
            load_settings(overrides=[f"{old}=1"])
    stored = {"painter": {"crop_size": 64}, "training": {"decay": "none", "clip": 1.0, "steps": 5}, "seed": 0}
    assert settings_now(stored) == {
        "inpainter": {"crop_size": 64},
        "training": {"lr_schedule": "constant", "grad_clip": 1.0, "steps": 5},
        "seed": 0,
    }
    known = set(names_of(*sections()))
    assert set(RENAMED.values()) <= known and not set(RENAMED) & known


def test_an_option_of_a_verb_is_checked_like_any_setting() -> None:
    with pytest.raises(SyndiffError, match=r"^training\.steps is 0, expected 1 to"):
        load_settings(values={"training.steps": 0})
    with pytest.raises(SyndiffError, match="did you mean 'steps'"):
        load_settings(values={"training.step": 5})


def test_a_model_called_like_a_date_is_looked_for(syndiff, phantom: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    done = syndiff(
        *("synthesize", "--data", phantom, "--split", split, "--out", tmp_path / "out", "--count", "1"),
        *("--model", "2025-07-15: 1"),
    )
    assert done.status == 2 and "2025-07-15: 1 holds no inpainter" in done.err


def test_presets_are_found() -> None:
    assert {"compact", "demo", "paper"} <= set(preset_names())


def test_the_table_of_uses_names_settings_that_exist() -> None:
    known = set(names_of(*sections()))
    for verb, use in USES.items():
        assert set(use.names()) < known, verb


@pytest.mark.parametrize("verb", USES)
def test_a_setting_that_a_verb_ignores_is_refused_and_one_that_it_uses_is_not(verb: str) -> None:
    used, settings = set(USES[verb].names()), Settings()
    for name in names_of(*sections()):
        if name.startswith(("compact.", "sdxl.")):
            continue  # these go with one inpainter only
        chosen = replace(settings, chosen=frozenset([name]))
        if name in used:
            check_use(chosen, verb)
            continue
        with pytest.raises(SyndiffError) as refused:
            check_use(chosen, verb)
        assert str(refused.value) == f"setting {name} has no effect on `syndiff {verb}`; leave it out."
