"""Settings come from a preset, a file, --set and options; each value is checked by its owner and none is re-read."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.config.description import describe
from syndiff.config.loading import load_settings, preset_names, settings_or_default
from syndiff.config.settings import Settings, names_of, sections
from syndiff.config.uses import USES, check_use
from syndiff.documents import dump_yaml
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


def test_all_settings_without_effect_are_named_at_once() -> None:
    chosen = load_settings(values={"adapt.crops": 8, "adapt.steps": 4, "training.real_share": 0.5})
    with pytest.raises(SyndiffError) as refused:
        check_use(chosen, "train", "train without --synthetic")
    assert str(refused.value) == (
        "settings adapt.crops and adapt.steps have no effect on `syndiff train`; setting training.real_share has no "
        "effect on `syndiff train without --synthetic`; leave them out."
    )
    with pytest.raises(SyndiffError, match=r"settings compact\.detail and compact\.steps have no effect with the"):
        load_settings(overrides=["synthesis.inpainter=copy_paste", "compact.steps=2", "compact.detail=real"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training.steps: 5", "training.steps is no section but a setting; write it below its section, training: {st"),
        ("caption_length: 5", "write it below its section, inpainter: {caption_length: 5}."),
        ("steps: 5", r"training: {steps: 5} (there is compact.steps, "),
        ("training: 5", "section training must hold names and values, found 5; expected such as training: {steps:"),
        ("training:", "section training must hold names and values, found None"),
        ("trainin: {steps: 5}", "unknown section 'trainin' (did you mean 'training'?)"),
        ("foo: 5", "unknown section 'foo'; expected one of model, "),
        ("seed: 1", "seed is no section but an option (--seed); leave it out"),
        ("- model", "must hold sections such as model:"),
    ],
)
def test_a_file_that_is_not_made_of_sections_is_told_how(text: str, told: str, tmp_path: Path, syndiff) -> None:
    (tmp_path / "small.yaml").write_text(text)
    refused = syndiff("settings", "--config", tmp_path / "small.yaml")
    assert refused.status == 2 and told in refused.err and "Traceback" not in refused.err, refused.err


def test_the_config_of_a_run_stands_in_for_the_preset(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = load_settings("demo", values={"training.steps": 7, "augmentation.scale": (0.8, 1.2)})
    (tmp_path / "config.yaml").write_text(dump_yaml({"data": "polyps", "split": "auto", "seed": 3, **made.recorded()}))
    (tmp_path / "environment.json").write_text("{}")
    caplog.set_level("INFO", logger="syndiff")
    found = load_settings(config=str(tmp_path / "config.yaml"), overrides=["adapt.steps=9"])
    assert found.chosen == {"adapt.steps"}  # the others are as a preset's: a verb that does not use them does not care
    assert found.plain() == replace(made, adapt=replace(made.adapt, steps=9)).plain()
    assert "data, split and seed are no settings and are not taken" in caplog.text
    (tmp_path / "environment.json").unlink()
    with pytest.raises(SyndiffError, match=r"data is no section but an option.*config\.yaml of a run is taken whole"):
        load_settings(config=tmp_path / "config.yaml")


def test_likely_slips_in_python_are_told_what_to_pass() -> None:
    with pytest.raises(SyndiffError, match=r"overrides is the text .*expected a list of such texts: \['training.ste"):
        load_settings(overrides="training.steps=5")
    for values in ({"steps": 5}, ["training.steps"]):
        with pytest.raises(SyndiffError, match=r"^values"):
            load_settings(values=values)  # type: ignore[arg-type]
    for given_settings, call in (
        ("demo", r'load_settings\("demo"\)'),
        ("small.yaml", r'load_settings\(config="small.yaml"\)'),
        ({"training.steps": 5}, r'load_settings\(values=\{"training.steps": 500\}\)'),
    ):
        with pytest.raises(SyndiffError, match=f"expected settings=syndiff.{call}"):
            settings_or_default(given_settings)  # type: ignore[arg-type]


def test_one_setting_is_shown_by_its_name() -> None:
    shown = describe(load_settings(), ["training.steps", "run"])
    assert [line.split(" ")[0] for line in shown.splitlines() if line[0] != " "] == [
        "training.steps",
        "run.minutes",
        "run.tolerance",
        "run.gap_steps",
    ]
    for word, meant in (("trainin", "training"), ("training.step", "training.steps")):
        with pytest.raises(SyndiffError, match=f"'{word}' .did you mean '{meant}'"):
            describe(load_settings(), [word])
