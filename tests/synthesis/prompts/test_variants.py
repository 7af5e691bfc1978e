"""The same prompts in other words: what stays, what changes, and what a pack or an inpainter cannot have."""

from dataclasses import replace

import numpy as np
import pytest

from syndiff.data.words import tokenize
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.prompts.pack import BUILT_IN
from syndiff.synthesis.prompts.variants import VARIANTS, Variant, VariantGrammar, lacking

FRAME = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
MASK = np.zeros((60, 80), bool)
MASK[20:40, 30:50] = True


def worded(grammar: Grammar, variant: Variant, *, measured_only: bool, index: int = 3):
    return VariantGrammar.of(grammar, variant).prompt(index, 1, MASK, FRAME, measured_only)


@pytest.mark.parametrize("measured_only", [True, False])
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_pack_has_every_variant(name: str, measured_only: bool) -> None:
    grammar = Grammar.load(name)
    own = worded(grammar, "own", measured_only=measured_only)
    assert own == grammar.prompt(3, 1, MASK, FRAME, measured_only)
    texts = {}
    for variant in VARIANTS:
        assert lacking(grammar, variant, measured_only=measured_only) is None
        made = VariantGrammar.of(grammar, variant)
        for index in range(20):
            text = worded(grammar, variant, measured_only=measured_only, index=index).text
            assert "{" not in text and len(text) <= max(map(len, made.longest(measured_only)))
            assert not measured_only or {*tokenize(text)} <= {*made.vocabulary}, "an inpainter is asked before"
        texts[variant] = worded(grammar, variant, measured_only=measured_only).text
        assert made.background == grammar.background
    assert len({*texts.values()}) == len(VARIANTS) and texts["empty"] == "" and texts["vaguer"] == grammar.subject
    if measured_only:  # the same words in another order
        assert sorted(tokenize(texts["reworded"])) == sorted(tokenize(texts["own"]))
        assert {*VariantGrammar.of(grammar, "reworded").vocabulary} == {*grammar.vocabulary}


def test_wrong_words_are_the_furthest_of_their_kind_and_no_others() -> None:
    grammar = Grammar.load("polyp")
    own = worded(grammar, "own", measured_only=True).words
    for variant, kind in (("wrong look", "lesion"), ("wrong shape", "mask")):
        changed = worded(grammar, variant, measured_only=True).words
        assert {name for name in own if own[name] != changed[name]} == {
            name for name in own if grammar.pack.slots[name].kind == kind
        }
        for name in (name for name in own if own[name] != changed[name]):
            texts = [word.text for word in grammar.pack.slots[name].words]
            apart = abs(texts.index(changed[name]) - texts.index(own[name]))
            assert apart == max(abs(index - texts.index(own[name])) for index in range(len(texts)))


def test_a_pack_without_other_words_says_what_it_lacks() -> None:
    grammar = Grammar.load("polyp")
    poor = replace(grammar, pack=replace(grammar.pack, reworded=None, synonyms={}))
    assert lacking(poor, "synonyms", measured_only=True) == "the prompt pack polyp has no synonyms"
    assert lacking(poor, "reworded", measured_only=True) == "the prompt pack polyp has no text reworded"
    assert lacking(poor, "vaguer", measured_only=True) is None
