"""When a run folder is the same run: what may differ from the settings that made it."""

from pathlib import Path

import pytest
import yaml

from syndiff.config.loading import load_settings
from syndiff.errors import SyndiffError
from syndiff.pipeline.stages import IDENTIFIED, may_change
from syndiff.training.run_folder import check_run, open_run


def config(*overrides: str) -> dict:
    return {"data": "here", "seed": 0, **load_settings("compact", None, overrides).recorded()}


def test_a_place_is_the_same_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kl").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kl")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    open_run(run, config("model.autoencoder=kl"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for written in ("../kl", str(tmp_path / "kl"), str(tmp_path / "link")):
        assert check_run(run, {**config(f"model.autoencoder={written}"), "data": "there"}) == {}
    with pytest.raises(SyndiffError, match=r"model\.autoencoder: .*kl there, mask here"):
        check_run(run, config())


def test_a_hash_under_the_name_of_what_is_for_people_is_compared(tmp_path: Path) -> None:
    open_run(tmp_path / "run", {"data": "a hash"}, for_people=())
    with pytest.raises(SyndiffError, match="data: a hash there, another here"):
        check_run(tmp_path / "run", {"data": "another"}, for_people=())


def test_what_is_shipped_is_no_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mask").mkdir()
    monkeypatch.chdir(tmp_path)
    assert config("model.autoencoder=mask")["model"]["autoencoder"] == "mask"


def test_what_is_identified_elsewhere_may_be_moved_but_not_added(tmp_path: Path) -> None:
    run = tmp_path / "run"
    open_run(run, config("gates.segmenter=old"))
    assert check_run(run, config("gates.segmenter=new"), identified=IDENTIFIED) == {}
    with pytest.raises(SyndiffError, match=r"gates\.segmenter: old there,  here"):
        check_run(run, config(), identified=IDENTIFIED)


NAMES = {
    "seed",
    "model.kind",
    "training.ema_decay",
    "inpainter.channels",
    "adapt.crops",
    "synthesis.inpainter",
    "run.tolerance",
}


@pytest.mark.parametrize(
    ("begun", "settled"),
    [
        ("mine.txt", set()),
        ("split.json", {"seed"}),
        ("plan.json", {"model.kind", "training.ema_decay"}),
        ("control/config.yaml", {"model.kind", "training.ema_decay"}),
        ("inpainter/config.yaml", {"inpainter.channels", "adapt.crops", "synthesis.inpainter"}),
        ("real/eval/data/summary.json", {"run.tolerance"}),
    ],
)
def test_settings_of_stages_that_have_not_begun_may_change(begun: str, settled: set[str], tmp_path: Path) -> None:
    (tmp_path / begun).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / begun).touch()
    assert {name for name in NAMES if not may_change(tmp_path)(name)} == settled
    assert may_change(tmp_path)("gates.mode") and may_change(tmp_path)("synthesis.share")


def test_a_changed_setting_is_written_and_all_others_kept(tmp_path: Path) -> None:
    open_run(tmp_path / "run", config())
    open_run(tmp_path / "run", config("gates.mode=report"), may_change=may_change(tmp_path / "run"))
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert stored == config("gates.mode=report")
