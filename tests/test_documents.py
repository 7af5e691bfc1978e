"""JSON and YAML are read strictly: nothing in them vanishes or changes its meaning without a word."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.documents import parse_yaml, read_json, read_object, read_yaml
from syndiff.errors import SyndiffError, shown

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
    started = time.perf_counter()
    with pytest.raises(SyndiffError, match=word) as refused:
        parse_yaml(text, "here")
    assert time.perf_counter() - started < 2 and len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "is not valid JSON"),
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
