"""`syndiff data caption`: what is measured on real cases, written so that the dataset folder reads it."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.masks import largest_component
from syndiff.data.words import tokenize
from syndiff.synthesis.prompts.grammar import Grammar

Maker = Callable[..., Dataset]


def test_captions_are_measured_and_read_by_the_dataset(make_dataset: Maker, syndiff: Callable) -> None:
    root = make_dataset(6).root
    empty = root / "masks/c5.png"
    Image.fromarray(np.zeros_like(np.asarray(Image.open(empty)))).save(empty)
    outcome = syndiff("data", "caption", "--data", root)
    assert outcome.status == 0 and "6 captions written to" in outcome.out

    dataset, grammar = Dataset.open(root), Grammar.load("polyp")
    for case in dataset.cases[:5]:
        image, mask = dataset.load(case)
        assert case.caption == grammar.caption(image, largest_component(mask), mask).text
        assert set(tokenize(str(case.caption))) <= set(grammar.vocabulary)
        # as the frames are drawn
        assert re.search("redder than the surrounding mucosa and (much )?brighter", str(case.caption))
    assert dataset["c5"].caption == grammar.background.text
    redder = re.search(r"^colour .*redder than (\d+) \((\d+)%\)", outcome.out, re.MULTILINE)
    assert redder and redder.groups() == ("5", "100")


def test_captions_that_exist_are_kept_unless_forced(make_dataset: Maker, syndiff: Callable, tmp_path: Path) -> None:
    root = make_dataset(2).root
    own = "case,caption\nc0,mine\nc1,mine\n"
    (root / "captions.csv").write_text(own)
    refused = syndiff("data", "caption", "--data", root)
    assert refused.status == 2 and "captions.csv exists already; add --force" in refused.err
    assert syndiff("data", "caption", "--data", root, "--out", tmp_path / "other.csv").status == 0
    assert (root / "captions.csv").read_text() == own
    assert syndiff("data", "caption", "--data", root, "--force").status == 0
    assert (root / "captions.csv").read_text() == (tmp_path / "other.csv").read_text() != own
    assert (root / "captions.earlier-1.csv").read_text() == own


def test_a_failure_leaves_the_old_captions(make_dataset: Maker, syndiff: Callable) -> None:
    root = make_dataset(3).root
    (root / "captions.csv").write_text("case,caption\nc0,mine\nc1,mine\nc2,mine\n")
    (root / "images/c2.png").write_bytes((root / "images/c2.png").read_bytes()[:300])
    before = {path.name for path in root.iterdir()}, (root / "captions.csv").read_bytes()
    failed = syndiff("data", "caption", "--data", root, "--force")
    assert failed.status == 2 and "c2.png" in failed.err
    assert ({path.name for path in root.iterdir()}, (root / "captions.csv").read_bytes()) == before


def test_a_pack_of_ones_own_words_captions_and_prompts(make_dataset: Maker, syndiff: Callable, tmp_path: Path) -> None:
    dataset, pack = make_dataset(8), tmp_path / "mine.yaml"
    pack.write_text(
        "{subject: polyp, templates: ['a {size} bump'], caption: 'a {size} bump', background: no bump, slots: "
        "{size: {kind: mask, measure: area, words: [{word: wee, below: 0.0001}, grand]}}}"
    )
    assert syndiff("data", "caption", "--data", dataset.root, "--prompts", pack).status == 0
    assert {case.caption for case in Dataset.open(dataset.root).cases} == {"a grand bump"}
    split, out = tmp_path / "split.json", tmp_path / "out"
    assert syndiff("data", "split", "--data", dataset.root, "--out", split).status == 0
    painted = ["synthesize", "--data", dataset.root, "--split", split, "--out", out, "--inpainter", "copy_paste"]
    painted += ["--count", 1]
    failed = syndiff(*painted, "--set", "synthesis.prompts=nowhere.yaml")
    assert failed.status == 2 and "There is no prompt pack 'nowhere.yaml'" in failed.err
    assert syndiff(*painted, "--set", f"synthesis.prompts={pack}").status == 0
    assert {case.caption for case in Dataset.open(out).cases} == {"a grand bump"}
    changed = syndiff(*painted[:-1], 2)
    assert changed.status == 2 and "prompts.pack was mine and is now polyp" in changed.err


@pytest.mark.real
def test_no_word_takes_nearly_all_real_polyps(cvc: Path) -> None:
    dataset, grammar = Dataset.open(cvc), Grammar.load("polyp")
    seen: dict[str, set[str]] = {}
    for case in dataset.cases[::25]:
        image, mask = dataset.load(case)
        for slot, word in grammar.caption(image, largest_component(mask), mask).words.items():
            seen.setdefault(slot, set()).add(word)
    assert all(len(words) == len(grammar.pack.slots[slot].words) for slot, words in seen.items()), seen
