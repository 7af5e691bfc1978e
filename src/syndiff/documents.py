"""JSON, JSON lines and YAML, by people or by SynDiff: read strictly, or refused with a sentence that names the file.

A key that stands twice is refused, since one of the two values would vanish. YAML is read by its core schema (1.2):
`true` and `false`, decimal numbers, `null`, text. So `010` is ten, and `on`, `1:30` and `2025-07-15` are text.
"""

import codecs
import hashlib
import itertools
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from syndiff.bounds import fits, in_words, kinds_of
from syndiff.errors import SyndiffError, shown

MAX_VALUES, MAX_DEPTH = 20_000, 30
"""Values of a YAML document once its aliases are written out, and how deep they may be nested."""

T = TypeVar("T")
Kinds = Mapping[str, type | tuple[type, ...]]
"""Keys that an object must have, and the types that their values may be of."""

MAX_BRACKETS = 200
"""Of a YAML document, opened and not yet closed; those within quotes count too."""

MAX_DIGITS = 100
"""Of a whole number in JSON; longer ones no float can hold."""

CHECKSUM = "crc32"
"""Key of an object's checksum: the CRC-32 of the rest of it, eight hexadecimal digits. Earlier versions wrote none."""

OWN = "SynDiff wrote this file: restore it from a copy, or make what it belongs to again in another folder."
WRITTEN_BY_HAND = "Mend it in a text editor and save it as UTF-8."


def digest(content: Any) -> str:
    """Hexadecimal SHA-256 of a value as JSON; the order of keys counts, tuples are lists."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_json(path: Path, *, mend: str = OWN) -> Any:
    """Read a JSON file. `mend` says what to do about a damaged one.

    Raises SyndiffError for a file that is missing, damaged, no UTF-8, or nested too deeply, for a key that stands
    twice in one object, numbers that are not finite, and a content that does not fit its checksum, if it has one.
    """
    try:
        return _parse_json(path.read_bytes(), str(path), mend)
    except FileNotFoundError:
        raise SyndiffError(f"{path} does not exist.") from None


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """An object with its checksum, which the readers here compare and leave out."""
    return {**content, CHECKSUM: _crc32(content)}


def json_line(content: Mapping[str, Any]) -> bytes:
    """An object as a line that `read_objects` reads, with its checksum.

    Raises ValueError for numbers that are not finite.
    """
    return json.dumps(with_checksum(content), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read_objects(path: Path, kinds: Kinds, *, mend: str = OWN, drop_cut: bool = False) -> Iterator[dict[str, Any]]:
    """Read JSON lines, one at a time: a file with an object a line, each as `read_object` asks for it.

    With `drop_cut` a last line without an end is left out: the writer was killed, and will write it again. Raises
    SyndiffError as `read_object` does, naming the line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not (drop_cut and not line.endswith(b"\n")):
                where = f"{path}, line {number}"
                yield check_object(where, _parse_json(line, where, mend), kinds, mend=mend)


def read_object(path: Path, kinds: Kinds, *, mend: str = OWN) -> dict[str, Any]:
    """Read a JSON file that holds an object with at least the keys of `kinds`, whose values are of these types.

    Raises SyndiffError as `read_json` does, and for another content, naming the first key that is wrong.
    """
    return check_object(path, read_json(path, mend=mend), kinds, mend=mend)


def check_object(origin: Path | str, content: Any, kinds: Kinds, *, mend: str = OWN) -> dict[str, Any]:
    """`content`, read from `origin`, where it is an object with the keys of `kinds`; a float may be a whole number."""
    if not isinstance(content, dict):
        keys = f" with {', '.join(kinds)}" if kinds else ""
        raise SyndiffError(f"{origin} holds {shown(content)}; expected an object{keys}. {mend}")
    for name, kind in kinds.items():
        allowed = kind if isinstance(kind, tuple) else (kind,)
        allowed = (*allowed, int) if float in allowed else allowed
        if name not in content:
            raise SyndiffError(f"{origin} lacks {name!r}. {mend}")
        value = content[name]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            words = " or ".join(_WORDS.get(each, each.__name__) for each in allowed)
            raise SyndiffError(f"{origin}: {name} is {shown(value)}, expected {words}. {mend}")
    return content


def rebuild(kind: type[T], content: Any, origin: Path | str, *, mend: str = OWN) -> T:
    """The dataclass `kind` again, from the object that JSON made of it; lists become tuples where it has tuples.

    Fields that `kind` names in `later` may be missing: an earlier version had none of them and did what their defaults
    do. Raises SyndiffError, naming `origin`, for another key that is missing or unknown, a value of another type than
    the field has, and values that `kind` itself refuses.
    """
    check_object(origin, content, {}, mend=mend)
    known = kinds_of(kind)
    content = {**{name: getattr(kind, name) for name in getattr(kind, "later", ())}, **content}
    for name in (*known, *content):
        if name not in content or name not in known:
            what = f"lacks {name!r}" if name in known else f"holds {shown(name)}, which this version does not know"
            raise SyndiffError(f"{origin} {what}. {mend}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    for name, value in values.items():
        if not fits(value, known[name]):
            raise SyndiffError(f"{origin}: {name} is {shown(content[name])}, expected {in_words(known[name])}. {mend}")
    try:
        return kind(**values)
    except SyndiffError as error:
        raise SyndiffError(f"{origin}: {error} {mend}") from None


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Name the keys whose values differ, with both values; empty when none does."""
    missing = "(absent)"
    return ", ".join(
        f"{key} was {there.get(key, missing)} and is now {here.get(key, missing)}"
        for key in sorted({*there, *here})
        if there.get(key, missing) != here.get(key, missing)
    )


_WORDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def read_yaml(path: Path, *, mend: str = WRITTEN_BY_HAND) -> Any:
    """Read a YAML file; see the module for what its words mean.

    Raises SyndiffError for a file that is missing, damaged or no UTF-8, a key that stands twice, and more than
    `MAX_VALUES` values (aliases written out) or `MAX_DEPTH` levels.
    """
    try:
        return parse_yaml(read_text(path, mend=mend), str(path), mend=mend)
    except FileNotFoundError:
        raise SyndiffError(f"{path} does not exist.") from None


def parse_yaml(text: str, origin: str, *, mend: str = WRITTEN_BY_HAND) -> Any:
    """The value that `text` holds; `origin` names it in errors, which are those of `read_yaml`."""
    if _brackets(text) > MAX_BRACKETS:  # PyYAML's time grows with the square of it
        raise SyndiffError(f"{origin} is not valid YAML (nested too deeply). {mend}")
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that no YAML may hold
        raise SyndiffError(f"{origin} is not valid YAML ({' '.join(str(error).split())}). {mend}") from None
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node)
        return loader.construct_document(node)
    except RecursionError:
        raise SyndiffError(f"{origin} is not valid YAML (nested too deeply). {mend}") from None
    except (yaml.YAMLError, ValueError) as error:
        told = " ".join(str(error).split())
        raise SyndiffError(f"{origin} is not valid YAML ({told[:300]}). {mend}") from None
    finally:
        loader.dispose()


def read_text(path: Path, *, mend: str = WRITTEN_BY_HAND) -> str:
    """Read a UTF-8 text file, with or without the mark that some editors begin it with.

    Raises SyndiffError for another encoding and OSError for a file that cannot be read.
    """
    return _text(path.read_bytes(), str(path), mend)


def dump_yaml(content: Any) -> str:
    """`content` as YAML that `read_yaml` reads back as it is; mappings keep their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)


def _crc32(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content, ensure_ascii=False).encode()):08x}"


def _brackets(text: str) -> int:
    """The most brackets that are open at once."""
    return max(itertools.accumulate((c in "[{") - (c in "]}") for c in text), default=0)


def _parse_json(content: bytes, origin: str, mend: str) -> Any:
    try:
        parsed = json.loads(
            _text(content, origin, mend),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except RecursionError:
        raise SyndiffError(f"{origin} is not valid JSON (nested too deeply). {mend}") from None
    except SyndiffError:
        raise
    except ValueError as error:
        raise SyndiffError(f"{origin} is not valid JSON ({error}). {mend}") from None
    if isinstance(parsed, dict) and CHECKSUM in parsed and parsed.pop(CHECKSUM) != _crc32(parsed):
        raise SyndiffError(
            f"{origin} is damaged or was changed: its {CHECKSUM} does not fit the rest. {mend} If you changed it on "
            f"purpose, remove {CHECKSUM} from it."
        )
    return parsed


def _text(content: bytes, origin: str, mend: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SyndiffError(f"{origin} is stored as UTF-16, expected UTF-8. {mend}")
    try:
        return content.decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise SyndiffError(f"{origin} is no UTF-8 text ({error.reason} at byte {error.start}). {mend}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {shown(key)} stands twice; keep one")
        content[key] = value
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{shown(text)} is larger than a number can be")
    return value


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool) or key is None:
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {shown(key)} stands twice; keep one", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Text that either version of YAML would take for something else is written in quotes."""


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def _measure(root: yaml.Node) -> None:
    """Raise ValueError for a document that is too large once its aliases are written out, or that holds itself."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
        known = sizes.get(id(node), 0)
        if known is None:
            raise ValueError("an alias stands within what it names")
        if known:
            return known
        sizes[id(node)] = None
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        total = 1 + sum(size(child, depth + 1) for child in children)
        if total > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values with its aliases written out")
        sizes[id(node)] = total
        return total

    size(root, 0)
