"""Prompt packs: YAML files of templates and words, read and checked. docs/how-to/prompts.md says how to write one."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from string import Formatter
from typing import Any

from syndiff.data.attributes import FrameAttributes, MaskAttributes
from syndiff.documents import read_yaml
from syndiff.errors import SyndiffError, did_you_mean
from syndiff.files import expanded

_FOLDER = Path(__file__).parent / "packs"

BUILT_IN = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
"""Names of the packs that ship with SynDiff."""

MEASURES: dict[str, tuple[str, ...]] = {
    "free": (),
    "mask": tuple(field.name for field in fields(MaskAttributes)),
    "lesion": ("redness", "lightness", "contrast"),
    "frame": tuple(field.name for field in fields(FrameAttributes)),
}
"""What the words of a slot can be measured by, for each kind of slot."""

NAMES = ("subject", "modality")
"""What every template may name besides slots."""

_TEXTS = ("subject", "modality", "caption", "background", "negative", "background_negative")
_REQUIRED = ("subject", "templates", "caption", "background", "slots")
_KEYS = (*_TEXTS, "classes", "templates", "slots", "reworded", "synonyms")
_MOST_COMBINATIONS = 100_000


@dataclass(frozen=True)
class Word:
    """One word or phrase of a slot: how likely it is drawn, and the measure's upper bound for it."""

    text: str
    weight: float = 1.0
    below: float = math.inf


@dataclass(frozen=True)
class Slot:
    """A place in a template. `kind`: free, mask, lesion or frame; `measure` is empty for free slots."""

    kind: str
    measure: str
    words: tuple[Word, ...]

    @property
    def sampled(self) -> bool:
        """Whether its word is drawn when a prompt is worded, rather than measured."""
        return self.kind in ("free", "lesion")

    def word(self, value: float) -> str:
        """The word for a measured value: the first whose bound lies above it."""
        return next(word.text for word in self.words if value < word.below or word is self.words[-1])


@dataclass(frozen=True)
class Template:
    """A text with {slots}, and how likely it is drawn. `names` are its slots, in order."""

    text: str
    weight: float
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Pack:
    """A checked pack. `hash` is the SHA-256 of its file.

    `reworded` says what the caption says in another order, `synonyms` other words for some of the slots' words; None
    and empty where the pack has none. They are for `syndiff study prompts`.
    """

    name: str
    hash: str
    subject: str
    modality: str
    classes: tuple[str, ...]
    templates: tuple[Template, ...]
    caption: Template
    background: str
    negative: str
    background_negative: str
    slots: Mapping[str, Slot]
    reworded: Template | None = None
    synonyms: Mapping[str, str] = field(default_factory=dict)


def find_pack(class_name: str) -> str:
    """Name of the built-in pack that serves a class such as "polyp"; "lesion" where none does."""
    return next((name for name in BUILT_IN if class_name.lower() in read_pack(name).classes), "lesion")


def read_pack(name_or_path: str) -> Pack:
    """Read a built-in pack by name or a user's by path.

    Raises SyndiffError that names the file and the mend: for a missing file, YAML that cannot be read, unknown or
    missing keys, words of another form, bounds that do not increase, weights that are not positive, templates with
    unknown slots, and slots that no template names.
    """
    return _built_in(name_or_path) if name_or_path in BUILT_IN else _read(expanded(name_or_path), name_or_path)


@lru_cache
def _built_in(name: str) -> Pack:
    return _read(_FOLDER / f"{name}.yaml", name)


def _read(path: Path, name_or_path: str) -> Pack:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise SyndiffError(
            f"There is no prompt pack {name_or_path!r}{did_you_mean(name_or_path, BUILT_IN)}; "
            f"expected {', '.join(BUILT_IN)} or the path of a YAML file."
        ) from None
    return _Reader(path).pack(read_yaml(path), hashlib.sha256(content).hexdigest())


class _Reader:
    """Turns the YAML tree of one file into a Pack; every complaint begins with the file's name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pack(self, tree: Any, digest: str) -> Pack:
        self.keys("the pack", tree, _KEYS, _REQUIRED)
        texts = {key: self.text(key, tree.get(key, "medical" if key == "modality" else "")) for key in _TEXTS}
        for key in (key for key in _TEXTS if key in _REQUIRED):
            self.check(bool(texts[key]), f"{key} is empty; give it some words")
        classes = tree.get("classes", [])
        self.check(
            isinstance(classes, list) and all(isinstance(name, str) for name in classes),
            f"classes is {classes!r}; expected a list of class names such as [polyp, adenoma]",
        )
        slots = self.slots(tree["slots"])
        templates = self.templates(tree["templates"], slots)
        caption = self.template("caption", {"text": texts["caption"]}, slots)
        for name in caption.names:
            self.check(
                slots[name].kind != "free",
                f"caption names the slot {name!r}, which is free: on a real case nothing measures it; leave it out",
            )
        for key in ("background", "negative", "background_negative"):
            self.check(
                not self.template(key, {"text": texts[key]}, slots).names,
                f"{key} names a slot; it describes no lesion, so only {{subject}} and {{modality}} can stand there",
            )
        unused = sorted(slots.keys() - {name for template in (*templates, caption) for name in template.names})
        self.check(
            not unused,
            f"no template names the slot {', '.join(map(repr, unused))}; write {{{(unused or [''])[0]}}} into one "
            "or remove the slot",
        )
        return Pack(
            name=self.path.stem,
            hash=digest,
            subject=texts["subject"],
            modality=texts["modality"],
            classes=tuple(name.lower() for name in classes),
            templates=templates,
            caption=caption,
            background=texts["background"],
            negative=texts["negative"],
            background_negative=texts["background_negative"],
            slots=slots,
            reworded=self.reworded(tree["reworded"], caption, slots) if "reworded" in tree else None,
            synonyms=self.synonyms(tree.get("synonyms", {}), slots),
        )

    def reworded(self, tree: Any, caption: Template, slots: Mapping[str, Slot]) -> Template:
        template = self.template("reworded", {"text": tree}, slots)
        self.check(
            {*template.names} == {*caption.names} and template.text != caption.text,
            f"reworded is {template.text!r}; expected the slots of the caption ({', '.join(caption.names)}) in another "
            "text",
        )
        return template

    def synonyms(self, tree: Any, slots: Mapping[str, Slot]) -> dict[str, str]:
        known = {word.text for slot in slots.values() for word in slot.words}
        self.check(isinstance(tree, dict), f"synonyms is {tree!r}; expected words with another word for each")
        found = {self.text("synonyms", word): self.text("synonyms", other) for word, other in tree.items()}
        for word, other in found.items():
            self.check(word in known, f"synonyms: no slot has the word {word!r}{did_you_mean(word, known)}")
            self.check(
                bool(re.search(r"\w", other)) and not re.search("[{}]", other) and other not in known,
                f"synonyms: found {other!r} for {word!r}; expected letters, without braces, that are no slot's word",
            )
        return found

    def slots(self, tree: Any) -> dict[str, Slot]:
        self.check(isinstance(tree, dict) and bool(tree), f"slots is {tree!r}; expected slots by name")
        return {self.slot_name(name): self.slot(f"slot {name}", slot) for name, slot in tree.items()}

    def slot_name(self, name: Any) -> str:
        self.check(
            isinstance(name, str) and name.isidentifier() and name not in NAMES,
            f"a slot is called {name!r}; expected one word of letters, digits and _ other than {' and '.join(NAMES)}",
        )
        return str(name)

    def slot(self, where: str, tree: Any) -> Slot:
        self.keys(where, tree, ("kind", "measure", "words"), ("kind", "words"))
        kind, measure = tree["kind"], tree.get("measure", "")
        self.one_of(f"{where}: kind", kind, MEASURES)
        if kind == "free":
            self.check(not measure, f"{where}: measure has no effect on a free slot, whose words are drawn; remove it")
        else:
            self.one_of(f"{where}: measure", measure, MEASURES[kind])
        words = tree["words"]
        self.check(isinstance(words, list) and bool(words), f"{where}: words is {words!r}; expected a list of words")
        read = tuple(self.word(where, kind, word) for word in words)
        texts = [word.text for word in read]
        twice = next((text for text in texts if texts.count(text) > 1), None)
        self.check(twice is None, f"{where}: {twice!r} is listed twice; keep one")
        if kind != "free":
            self.bounds(where, read)
        return Slot(kind, measure, read)

    def word(self, where: str, kind: str, tree: Any) -> Word:
        if isinstance(tree, str):
            tree = {"word": tree}
        self.check(
            isinstance(tree, dict),
            f"{where}: found the word {tree!r}; expected text (in quotes, if YAML takes it for something else) or "
            "{word: small, below: 0.05, weight: 2}",
        )
        self.keys(f"{where}, word {tree.get('word')!r}", tree, ("word", "below", "weight"), ("word",))
        text = self.text(f"{where}: word", tree["word"])
        self.check(
            bool(re.search(r"\w", text)) and not re.search("[{}]", text),
            f"{where}: found the word {text!r}; expected letters, without braces",
        )
        self.check(
            kind != "free" or "below" not in tree,
            f"{where}, word {text!r}: below has no effect on a free slot, whose words are drawn; remove it",
        )
        self.check(
            kind in ("free", "lesion") or "weight" not in tree,
            f"{where}, word {text!r}: weight has no effect on a {kind} slot, whose words are measured; remove it",
        )
        below = self.number(f"{where}, word {text!r}: below", tree["below"]) if "below" in tree else math.inf
        return Word(text, self.weight(f"{where}, word {text!r}", tree), below)

    def bounds(self, where: str, words: tuple[Word, ...]) -> None:
        *earlier, last = words
        for word in earlier:
            self.check(
                word.below < math.inf,
                f"{where}: the word {word.text!r} has no bound; give it one (below: number), only the last has none",
            )
        self.check(last.below == math.inf, f"{where}: the last word {last.text!r} takes all the rest; remove its below")
        for one, next_ in pairwise(words):
            self.check(
                one.below < next_.below,
                f"{where}: the bound of {next_.text!r} ({next_.below:g}) does not lie above that of {one.text!r} "
                f"({one.below:g}); bounds must increase",
            )

    def templates(self, tree: Any, slots: Mapping[str, Slot]) -> tuple[Template, ...]:
        self.check(isinstance(tree, list) and bool(tree), f"templates is {tree!r}; expected a list of texts")
        templates = tuple(self.template("templates", template, slots) for template in tree)
        combinations = sum(
            math.prod(len(slots[name].words) for name in template.names if slots[name].sampled)
            for template in templates
        )
        self.check(
            combinations <= _MOST_COMBINATIONS,
            f"its templates and words give {combinations:,} combinations; at most {_MOST_COMBINATIONS:,} can be drawn "
            "without repetition: use fewer words or slots",
        )
        return templates

    def template(self, where: str, tree: Any, slots: Mapping[str, Slot]) -> Template:
        if isinstance(tree, str):
            tree = {"text": tree}
        self.keys(where, tree, ("text", "weight"), ("text",))
        text = self.text(where, tree["text"])
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise SyndiffError(f"{self.path}: {where}: {text!r} is no template ({error}).") from None
        names = [name for _, name, _, _ in parts if name is not None]
        for (_, name, form, conversion), known in ((part, (*slots, *NAMES)) for part in parts):
            self.check(
                name is None or (name in known and not form and not conversion),
                f"{where}: {{{name}}} in {text!r} names no slot{did_you_mean(str(name), known)}; "
                f"there are {', '.join(known)}",
            )
        self.check(
            not re.search(r"\w\{|\}\w|\}\{", text),
            f"{where}: in {text!r} a slot touches a letter or another slot; put a space or a comma between them",
        )
        slot_names = tuple(dict.fromkeys(name for name in names if name not in NAMES))
        return Template(text, self.weight(where, tree), slot_names)

    def weight(self, where: str, tree: Mapping[str, Any]) -> float:
        weight = self.number(f"{where}: weight", tree.get("weight", 1))
        self.check(weight > 0, f"{where}: weight is {weight:g}; expected more than 0 (to leave it out, delete it)")
        return weight

    def number(self, where: str, value: Any) -> float:
        self.check(
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
            f"{where} is {value!r}; expected a number such as 0.05",
        )
        return float(value)

    def text(self, where: str, value: Any) -> str:
        self.check(isinstance(value, str), f"{where} is {value!r}; expected text (in quotes)")
        return " ".join(value.split())

    def one_of(self, where: str, value: Any, known: Iterable[str]) -> None:
        known = tuple(known)
        suggestion = did_you_mean(str(value), known)
        self.check(value in known, f"{where} is {value!r}{suggestion}; expected one of {', '.join(known)}")

    def keys(self, where: str, tree: Any, known: Iterable[str], required: Iterable[str]) -> None:
        self.check(isinstance(tree, dict), f"{where} is {tree!r}; expected {', '.join(required)} with their values")
        for key in tree:
            self.check(
                key in known,
                f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}; expected {', '.join(known)}",
            )
        for key in required:
            self.check(key in tree, f"{where}: {key} is missing; add it")

    def check(self, holds: bool, complaint: str) -> None:
        if not holds:
            raise SyndiffError(f"{self.path}: {complaint}.")
