"""JSON and YAML are read strictly: nothing in them vanishes or changes its meaning without a word."""

import contextlib
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syndiff.documents import (
    dump_yaml,
    json_line,
    parse_yaml,
    read_json,
    read_object,
    read_objects,
    read_yaml,
    rebuild,
)
from syndiff.errors import SyndiffError, shown
from syndiff.files import write_record

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NESTED_ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 11)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-7", -7),
        ("1e-4", 1e-4),
        ("2.", 2.0),
        ("true", True),
        ("null", None),
        ("", None),
        *((word, word) for word in ("on", "off", "yes", "no", "1:30", "2025-07-15", "2025-13-45", "0x10", "1_000")),
        ("{a: &x [1, 2], b: *x}", {"a": [1, 2], "b": [1, 2]}),
    ],
)
def test_yaml_means_what_it_says(text: str, value: object) -> None:
    found = parse_yaml(text, "here")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("model: {a: 1}\ntraining: {}\nmodel: {b: 2}", "'model' stands twice"),
        ("a: {x: 1, x: 1}", "'x' stands twice"),
        ("[" * 40 + "]" * 40, "nested more than 30 levels"),
        ("[" * 5000 + "]" * 5000, "nested"),
        ("a: &a [*a]", "within what it names"),
        (NESTED_ALIASES, "aliases written out"),
        ("[a", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("9" * 5000, "is not valid YAML"),
    ],
)
def test_yaml_that_is_refused(text: str, word: str) -> None:
    started = time.process_time()
    with pytest.raises(SyndiffError, match=word) as refused:
        parse_yaml(text, "here")
    assert time.process_time() - started < 2 and len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "is not valid JSON"),
        (b"[" + b"9" * 101 + b"]", "a number of 101 digits"),
        (b'{"a": -1e999}', "'-1e999' is larger than a number can be"),
        (b'{"a": "\xf3"}', "no UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (b"", "is not valid JSON"),
        (b'{"a": 1,}', "line 1"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(SyndiffError, match=r"x\.json") as refused:
        read_json(tmp_path / "x.json", mend="Mend it so.")
    assert word in str(refused.value) and "Mend it so." in str(refused.value)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_json(tmp_path / "x.json") == read_yaml(tmp_path / "x.yaml") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "word"),
    [([], "expected an object"), ({}, "lacks 'step'"), ({"step": True}, "a whole number"), ({"step": "3"}, "'3'")],
)
def test_an_object_is_what_its_reader_needs(tmp_path: Path, content: object, word: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(SyndiffError, match=word):
        read_object(tmp_path / "x.json", {"step": int})


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), lambda x: st.lists(x) | st.tuples(x, x)))
def test_what_is_shown_of_a_value_is_short(value: object) -> None:
    assert len(shown(value)) < 2000


def test_a_number_too_long_to_write_can_be_shown() -> None:
    assert "bits" in shown(10**5000)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
@example("1e5").via("YAML 1.1 has it for text, 1.2 for a number")
@example("on").via("the other way round")
@example("0o17")
@example("12e4567")
def test_yaml_that_we_write_comes_back(value: object) -> None:
    found = parse_yaml(dump_yaml({"x": value}), "here")
    assert found == {"x": value} and repr(found) == repr({"x": value})


def test_lines_are_read_one_by_one_and_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2, "b": "c"}\n{"a": 3')
    assert [line["a"] for line in read_objects(path, {"a": int}, drop_cut=True)] == [1, 2]
    with pytest.raises(SyndiffError, match=r"x\.jsonl, line 3 is not valid JSON"):
        list(read_objects(path, {"a": int}))
    with pytest.raises(SyndiffError, match=r"x\.jsonl, line 1 lacks 'b'"):
        next(read_objects(path, {"b": str}))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(content=st.dictionaries(NAMES, VALUES, max_size=3), place=st.integers(0), bit=st.integers(0, 7))
def test_a_turned_bit_is_never_read_as_another_content(content: dict[str, object], place: int, bit: int) -> None:
    line = bytearray(json_line(content))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_bytes(line)
        assert list(read_objects(path, {})) == [content]
        line[place % len(line)] ^= 1 << bit
        path.write_bytes(line)
        with contextlib.suppress(SyndiffError):
            (found,) = read_objects(path, {})
            assert {name: found[name] for name in content} == content


def test_a_record_that_was_changed_is_told_how_to_be_accepted(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_record(path, {"threshold": 0.25, "name": "é"})
    assert read_json(path) == {"threshold": 0.25, "name": "é"}
    changed = json.loads(path.read_text()) | {"threshold": 0.2}
    path.write_text(json.dumps(changed))
    with pytest.raises(SyndiffError, match=r"x\.json is damaged or was changed: its crc32 .* remove crc32 from it\."):
        read_json(path)
    del changed["crc32"]
    path.write_text(json.dumps(changed))
    assert read_json(path) == changed


@dataclass(frozen=True)
class Thing:
    count: int
    share: float | None
    sizes: tuple[int, ...]
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.count < 0:
            raise SyndiffError(f"count is {self.count}, expected 0 or more.")


def test_a_dataclass_is_rebuilt_from_what_json_made_of_it() -> None:
    thing = Thing(3, None, (1, 2), "b")
    assert rebuild(Thing, json.loads(json.dumps(asdict(thing))), "x.json") == thing
    assert rebuild(Thing, {"count": 0, "share": 1, "sizes": [], "kind": "a"}, "x.json").share == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": True}, "count is True, expected a whole number"),
        ({"count": 1.5}, "count is 1.5, expected a whole number"),
        ({"share": "much"}, "share is 'much', expected a number or null"),
        ({"sizes": [1, "x"]}, "sizes is [1, 'x'], expected a list such as [a, b], each a whole number"),
        ({"sizes": 3}, "sizes is 3"),
        ({"kind": "c"}, "kind is 'c', expected one of a, b"),
        ({"colour": 1}, "holds 'colour', which this version does not know"),
        ({"count": -1}, "count is -1, expected 0 or more"),
        ({"kind": ...}, "lacks 'kind'"),
    ],
)
def test_a_dataclass_that_cannot_be_rebuilt(change: dict, words: str) -> None:
    content = {"count": 1, "share": None, "sizes": [1], "kind": "a", **change}
    with pytest.raises(SyndiffError, match=r"^x\.json") as refused:
        rebuild(Thing, {name: value for name, value in content.items() if value is not ...}, "x.json", mend="Mend it.")
    assert words in str(refused.value) and str(refused.value).endswith("Mend it.")
