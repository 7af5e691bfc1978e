"""Words for what is painted: a pack's templates, filled from the mask, the frame and seeded choice."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from syndiff.data.attributes import measure_frame, measure_lesion, measure_mask
from syndiff.data.dataset import Dataset
from syndiff.data.words import tokenize
from syndiff.synthesis.prompts.pack import Pack, Slot, Template, find_pack, read_pack

Image = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Caption:
    """What a picture shows. `words` holds the word of each slot that `text` names; `template` is `text` with slots."""

    text: str
    words: dict[str, str]
    template: str


@dataclass(frozen=True)
class Prompt(Caption):
    """What to paint, and in `negative` what to avoid."""

    negative: str


@dataclass(frozen=True)
class Grammar:
    """A pack with the names of the subject ("polyp") and of the modality ("colonoscopy") filled in."""

    pack: Pack
    subject: str
    modality: str

    @classmethod
    def load(cls, name_or_path: str) -> "Grammar":
        """Load a pack that ships with SynDiff by name, or a user's by path, with the names it gives itself.

        Raises SyndiffError for an unknown name, a missing file and anything wrong in it.
        """
        pack = read_pack(name_or_path)
        return cls(pack, pack.subject, pack.modality)

    @classmethod
    def for_dataset(cls, dataset: Dataset, name_or_path: str = "") -> "Grammar":
        """Load the given pack, or else the one that serves the dataset's first class ("lesion" where none does).

        Subject and modality are the dataset's where it names them. Raises SyndiffError as `load` does.
        """
        class_name = next(iter(dataset.classes.values()), "").strip()
        pack = read_pack(name_or_path or find_pack(class_name))
        return cls(pack, class_name or pack.subject, dataset.modality or pack.modality)

    def prompt(
        self, index: int, seed: int, lesion_mask: NDArray[np.bool_], frame: Image, measured_only: bool = False
    ) -> Prompt:
        """Word the prompt of attempt `index` for a lesion that is to fill `lesion_mask` (HxW) in `frame` (HxWx3).

        Words of kind `mask` are measured on the mask, those of kind `frame` around it. `free` and `lesion` words are
        drawn together with the template, every combination once before one comes again, by (seed, index) alone.
        `measured_only` takes the caption's template, for an inpainter that learned its words from captions.
        Raises SyndiffError for an empty mask.
        """
        deck = _deck(self.pack, measured_only)
        template, words = deck.draw(index, seed)
        kinds = {self.pack.slots[name].kind for name in template.names}
        values = vars(measure_mask(lesion_mask)) | (vars(measure_frame(frame, lesion_mask)) if "frame" in kinds else {})
        caption = self._fill(template, values, words)
        return Prompt(caption.text, caption.words, template.text, self._named(self.pack.negative))

    def caption(
        self,
        image: Image,
        lesion: NDArray[np.bool_],
        every: NDArray[np.bool_],
        there: NDArray[np.bool_] | None = None,
    ) -> Caption:
        """Word what is measured on a real `lesion` (HxW) of a case: its image HxWx3, `every` lesion in it HxW.

        `there` (HxW) is the shape that it shall have instead, where it is to be moved or scaled.
        Raises SyndiffError for an empty lesion.
        """
        attributes = measure_lesion(image, lesion, every)
        shape = {} if there is None else vars(measure_mask(there))
        return self._fill(self.pack.caption, vars(attributes) | {"contrast": attributes.contrast} | shape, {})

    def measured(
        self, template: Template, lesion_mask: NDArray[np.bool_], frame: Image, words: Mapping[str, str]
    ) -> Caption:
        """Word a template with `words`, and with measured ones where these have none (as `prompt` measures)."""
        values = vars(measure_mask(lesion_mask)) | vars(measure_frame(frame, lesion_mask))
        return self._fill(template, values, words)

    def reword(self, prompt: Prompt, slot: str, word: str) -> Prompt:
        """Put another word into one slot of a prompt; the rest of it stays."""
        return self.worded(prompt, {**prompt.words, slot: word})

    def worded(self, prompt: Prompt, words: Mapping[str, str], template: str = "") -> Prompt:
        """A prompt with other words for its slots, and in another `template` where one is given."""
        template = template or prompt.template
        return Prompt(self._named(template, words), dict(words), template, prompt.negative)

    @property
    def background(self) -> Prompt:
        """The prompt that paints a lesion away, and the caption of a case without one."""
        text = self.pack.background
        return Prompt(self._named(text), {}, text, self._named(self.pack.background_negative))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every token that `caption` and `background` can produce, sorted: what a learned text encoder knows."""
        slots = self.pack.slots
        gaps = dict.fromkeys(self.pack.caption.names, " ")
        texts = [self._named(self.pack.caption.text, gaps), self.background.text]
        texts += [word.text for name in self.pack.caption.names for word in slots[name].words]
        return tuple(sorted({token for text in texts for token in tokenize(text)}))

    def longest(self, measured_only: bool = False) -> list[str]:
        """Each template with the longest word in every slot, and all other prompts: to try against a limit.

        The longest by letters, and the longest by words: what an encoder counts lies between the two.
        An inpainter that learned its words from captions (`measured_only`) reads no negative prompt.
        """
        templates = _deck(self.pack, measured_only).templates
        worded = []
        for length in (len, lambda text: len(tokenize(text))):
            longest = {name: max((w.text for w in slot.words), key=length) for name, slot in self.pack.slots.items()}
            worded += [self._named(template.text, longest) for template in templates]
        negative = [] if measured_only else [self._named(self.pack.negative), self.background.negative]
        return [*worded, self.background.text, *negative]

    def describe(self) -> dict[str, str]:
        """What the manifest keeps, so that the same words can be had again."""
        return {"pack": self.pack.name, "hash": self.pack.hash, "subject": self.subject, "modality": self.modality}

    def _fill(self, template: Template, values: Mapping[str, float], drawn: Mapping[str, str]) -> Caption:
        slots = self.pack.slots
        words = {name: drawn.get(name) or slots[name].word(values[slots[name].measure]) for name in template.names}
        return Caption(self._named(template.text, words), words, template.text)

    def _named(self, text: str, words: Mapping[str, str] | None = None) -> str:
        return text.format_map({"subject": self.subject, "modality": self.modality, **(words or {})})


class _Deck:
    """All combinations of templates and drawn words, as cards that are shuffled anew when all were drawn."""

    def __init__(self, templates: Sequence[Template], slots: Mapping[str, Slot]) -> None:
        self.templates = templates
        self.slots = [{name: slots[name] for name in t.names if slots[name].sampled} for t in templates]
        self.sizes = [math.prod(len(slot.words) for slot in drawn.values()) for drawn in self.slots]
        weights = []
        for template, drawn in zip(templates, self.slots, strict=True):
            cards = np.array([template.weight])
            for slot in drawn.values():
                likely = np.array([word.weight for word in slot.words])
                cards = np.outer(cards, likely / likely.sum()).ravel()
            weights.append(cards)
        self.weights = np.concatenate(weights)
        self.order = lru_cache(maxsize=4)(self._order)

    def draw(self, index: int, seed: int) -> tuple[Template, dict[str, str]]:
        """The template and the drawn words of attempt `index`."""
        turn, place = divmod(index, len(self.weights))
        card = int(self.order(seed, turn)[place])
        number = 0
        while card >= self.sizes[number]:
            card -= self.sizes[number]
            number += 1
        words = {}
        for name, slot in reversed(self.slots[number].items()):  # the last slot's words lie next to each other
            card, choice = divmod(card, len(slot.words))
            words[name] = slot.words[choice].text
        return self.templates[number], words

    def _order(self, seed: int, turn: int) -> NDArray[np.intp]:
        """A weighted shuffle: Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006).

        The largest u^(1/w) comes first, which is the smallest -log(u)/w.
        """
        draws = np.random.default_rng((seed, turn, 2)).exponential(size=len(self.weights))
        return np.argsort(draws / self.weights, kind="stable")


@lru_cache(maxsize=8)
def _deck(pack: Pack, measured_only: bool) -> _Deck:
    return _Deck((pack.caption,) if measured_only else pack.templates, pack.slots)
