"""Drafts for a paper: filled with what the run tells, blank where it does not, kept once somebody has edited them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from syndiff.data.dataset import Dataset
from syndiff.report.content import Content, read_content
from syndiff.report.drafts import DRAFTS, make_drafts, plain, write_drafts
from syndiff.report.markdown import to_html

MakeRun = Callable[..., tuple[Path, Dataset]]


@pytest.fixture(scope="module")
def drafts(content: Content) -> dict[str, str]:
    return make_drafts(content)


def test_the_drafts_tell_what_the_run_tells(drafts: dict[str, str], content: Content) -> None:
    methods, model, dataset = (drafts[name] for name in DRAFTS)
    assert "15 images of 5 groups" in methods and "6 images of 2 groups for testing" in methods
    assert "4 synthetic cases (40 % of the training images" in methods and "2 more were rejected" in methods
    assert "PyTorch 2.13.0" in methods and "trained once, with seed 7" in methods
    assert "| Dice | " in model and "cannot tell" in model, "claims follow the interval"
    assert "CC0" in dataset and content.split.fingerprint in dataset and "copy\\_paste" in dataset


def test_what_is_not_known_is_a_blank(drafts: dict[str, str], content: Content) -> None:
    methods = drafts["methods.md"]
    for blank in ("inclusion and exclusion criteria", "who annotated", "model.encoder", "syndiff"):
        assert f"[to fill in: {blank}" in methods
    bare = replace(content, dataset=replace(content.dataset, licence="", modality="", classes={}))
    texts = make_drafts(bare)
    assert "[to fill in: licence of the images]" in texts["dataset-card.md"]
    assert "segments [to fill in: what is segmented] in [to fill in: modality]" in texts["methods.md"]


def test_weights_are_named_by_their_hash_where_the_evaluation_tells_it(
    content: Content, drafts: dict[str, str]
) -> None:
    assert "model.safetensors" not in drafts["model-card.md"]
    real = replace(content.arms["real"], provenance={"weights": "ab12", "step": 30, "seed": 0})
    card = make_drafts(replace(content, arms={"real": real}, comparisons=()))["model-card.md"]
    assert "| real only | 30 | `ab12` |" in card


@pytest.mark.parametrize("arms", [("control",), ("real",)])
def test_some_arms_and_no_groups_still_make_drafts(make_run: MakeRun, arms: tuple[str, ...]) -> None:
    drafts = make_drafts(read_content(*make_run(arms=arms, groups=False)))
    assert "Groups are not known" in drafts["methods.md"] and "Synthetic cases" not in drafts["methods.md"]
    assert ("The control is" in drafts["methods.md"]) is False
    assert "| train | 6 | not known |" in drafts["dataset-card.md"]


def test_an_edited_draft_is_kept_and_an_old_one_is_not(drafts: dict[str, str], tmp_path: Path) -> None:
    assert write_drafts(tmp_path, drafts) == []
    assert write_drafts(tmp_path, drafts | {"methods.md": "new\n"}) == []
    assert (tmp_path / "methods.md").read_text(encoding="utf-8").startswith("new\n")
    mine = (tmp_path / "methods.md").read_text(encoding="utf-8").replace("new", "mine")
    (tmp_path / "methods.md").write_text(mine, encoding="utf-8")
    (tmp_path / "model-card.md").write_text("all mine", encoding="utf-8")
    assert write_drafts(tmp_path, drafts) == ["methods.md", "model-card.md"]
    assert (tmp_path / "methods.md").read_text(encoding="utf-8") == mine
    assert (tmp_path / "model-card.md").read_text(encoding="utf-8") == "all mine"


def test_text_from_the_data_is_no_markup() -> None:
    name = "a_b_c *x* <script> [y](z) `|` #"
    assert MarkdownIt().renderInline(plain(name)).replace("&lt;", "<").replace("&gt;", ">") == name
    assert "\n" not in plain("two\n\n# lines")


def test_markdown_becomes_html_without_links_or_markup() -> None:
    page = to_html(
        "# T\n\n<b>x</b> [a](javascript:b) ![c](d) <https://e.f>\n\n| g | h |\n| - | - |\n| 1 | .2 [.1, .3] |",
        heading=3,
    )
    assert "<h3>T</h3>" in page and "<td>.2 <small>[.1, .3]</small></td>" in page
    assert "<b>" not in page and "href" not in page and "<img" not in page
    assert "<mark>[to fill in: dates]</mark>" in to_html("[to fill in: dates]", heading=3)
    signs = to_html("-0.02 [-.1, +.3], 2026-11-29, z-2", heading=3)
    assert signs == "<p>−0.02 [−.1, +.3], 2026-11-29, z-2</p>\n", "a minus, where a number is negative"
