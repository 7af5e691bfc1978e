"""The prompts of a synthetic set in other words: what `syndiff study prompts` paints the same places with."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from syndiff.data.words import tokenize
from syndiff.synthesis.prompts.grammar import Caption, Grammar, Image, Prompt

Variant = Literal["own", "synonyms", "reworded", "vaguer", "wrong look", "wrong shape", "empty"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""own: as `synthesize` words them. synonyms: other words of the same meaning, from the pack. reworded: the pack's other
text, with the same words. vaguer: the subject alone. wrong look, wrong shape: slots of the kind lesion, or mask, with
the word furthest from their own. empty: no word at all."""


@dataclass(frozen=True)
class VariantGrammar(Grammar):
    """A grammar whose prompts are a variant of those that it would give; captions and backgrounds stay."""

    variant: Variant = "own"

    @classmethod
    def of(cls, grammar: Grammar, variant: Variant) -> Grammar:
        """The grammar in this variant."""
        return cls(grammar.pack, grammar.subject, grammar.modality, variant) if variant != "own" else grammar

    def prompt(
        self, index: int, seed: int, lesion_mask: NDArray[np.bool_], frame: Image, measured_only: bool = False
    ) -> Prompt:
        """The variant of the prompt of attempt `index`."""
        return self._varied(super().prompt(index, seed, lesion_mask, frame, measured_only), lesion_mask, frame)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The variant's words, with all others."""
        more = [] if self.variant != "synonyms" else self.pack.synonyms.values()
        if self.variant == "reworded" and self.pack.reworded:
            more = [self._named(self.pack.reworded.text, dict.fromkeys(self.pack.reworded.names, " "))]
        return tuple(sorted({*super().vocabulary, *(token for text in more for token in tokenize(text))}))

    def longest(self, measured_only: bool = False) -> list[str]:
        """The longest prompts of the variant, with those of the grammar."""
        texts = super().longest(measured_only)
        if self.variant == "synonyms":
            slots = self.pack.slots
            longest = {
                name: max((self.pack.synonyms.get(word.text, word.text) for word in slot.words), key=len)
                for name, slot in slots.items()
            }
            templates = (self.pack.caption,) if measured_only else self.pack.templates
            texts += [self._named(template.text, longest) for template in templates]
        if self.variant == "reworded" and self.pack.reworded:
            longest = {name: max((w.text for w in slot.words), key=len) for name, slot in self.pack.slots.items()}
            texts.append(self._named(self.pack.reworded.text, longest))
        return texts

    def describe(self) -> dict[str, str]:
        """What the manifest keeps, with the variant."""
        return {**super().describe(), "variant": self.variant}

    def _varied(self, prompt: Prompt, lesion_mask: NDArray[np.bool_], frame: Image) -> Prompt:
        pack, words = self.pack, prompt.words
        if self.variant == "synonyms":
            return self.worded(prompt, {name: pack.synonyms.get(word, word) for name, word in words.items()})
        if self.variant == "reworded":
            assert pack.reworded is not None, "a variant that the pack lacks is refused before"
            all_words: Caption = self.measured(pack.reworded, lesion_mask, frame, words)
            return self.worded(prompt, all_words.words, pack.reworded.text)
        if self.variant == "vaguer":
            return self.worded(prompt, {}, "{subject}")
        if self.variant == "empty":
            return replace(self.worded(prompt, {}, "{subject}"), text="", negative="")
        kind = "lesion" if self.variant == "wrong look" else "mask"
        wrong = {name: self._furthest(name, word) for name, word in words.items() if pack.slots[name].kind == kind}
        return self.worded(prompt, words | wrong)

    def _furthest(self, slot: str, word: str) -> str:
        """The word of a slot that is furthest from this one: its first or its last."""
        texts = [each.text for each in self.pack.slots[slot].words]
        return texts[-1] if 2 * texts.index(word) < len(texts) - 1 else texts[0]


def lacking(grammar: Grammar, variant: Variant, *, measured_only: bool) -> str | None:
    """Why a grammar's pack does not have a variant of its prompts, or (`measured_only`) captions; None where it has."""
    pack = grammar.pack
    where, templates = f"the prompt pack {pack.name}", (pack.caption,) if measured_only else pack.templates
    if variant == "synonyms" and not pack.synonyms:
        return f"{where} has no synonyms"
    if variant == "reworded":
        if pack.reworded is None:
            return f"{where} has no text reworded"
        drawn = {name for name in pack.reworded.names if pack.slots[name].kind == "lesion"}
        if poor := next((template.text for template in templates if drawn - {*template.names}), None):
            return f"the template {poor!r} of {where} lacks slots of the text reworded"
    kind = {"wrong look": "lesion", "wrong shape": "mask"}.get(variant)
    if kind and not all(any(pack.slots[name].kind == kind for name in template.names) for template in templates):
        return f"a text of {where} names no slot of the kind {kind}"
    return None
