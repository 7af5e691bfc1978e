"""Damage that files of one's own meet: cut, emptied, a key gone, a value of another type, nested without end."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from syndiff.documents import CHECKSUM, dump_yaml, read_yaml

WHOLE = (
    b"",
    b"[]",
    b"{}",
    b"null",
    b"5",
    b"[" * 100_000,
    b"\xff\xfe\xfa{}",
    b'{"a": ',
    b'{"a": 1e999, "b": 2}',
    b"a,b\n1,2\n",
)
VALUES = (None, -1, 0.5, True, "x", "", [], {}, [[]], [None], {"": None}, 10**80, "2025-13-45")


def damaged(path: Path) -> st.SearchStrategy[bytes]:
    """Contents that may stand in `path` instead of its own."""
    content = path.read_bytes()
    ways = [st.sampled_from(WHOLE), st.integers(0, len(content)).map(lambda end: content[:end])]
    if path.suffix == ".json":
        ways.append(_changed(_parsed(content)).map(lambda value: json.dumps(value).encode()))
    elif path.suffix == ".jsonl":
        first, *rest = content.splitlines(keepends=True)
        ways += [
            _changed(_parsed(first)).map(lambda value: json.dumps(value).encode() + b"\n" + b"".join(rest)),
            st.sampled_from(WHOLE).map(lambda line: line + b"\n" + b"".join(rest)),
        ]
    elif path.suffix == ".yaml":
        ways.append(_changed(read_yaml(path)).map(lambda value: dump_yaml(value).encode()))
    elif path.suffix == ".csv":
        cells = content.replace(b"\n", b",\n").split(b",")
        strange = st.sampled_from([b"", b"x", b"nan", b"-1", b'"', b"9" * 5000, b"1,1", b"\xff", b"\0"])
        ways.append(
            st.tuples(st.integers(0, len(cells) - 1), strange).map(
                lambda cut: b",".join([*cells[: cut[0]], cut[1], *cells[cut[0] + 1 :]]).replace(b",\n", b"\n")
            )
        )
    return st.one_of(ways)


def _parsed(content: bytes) -> Any:
    """Without its checksum, which would refuse every change before anything else is looked at."""
    tree = json.loads(content)
    return {key: value for key, value in tree.items() if key != CHECKSUM} if isinstance(tree, dict) else tree


def _changed(tree: Any) -> st.SearchStrategy[Any]:
    """`tree` without one of its keys, or with another value for one, at any depth."""
    places = list(_places(tree))
    return st.tuples(st.sampled_from(places), st.sampled_from(("remove", *VALUES))).map(
        lambda change: _with(tree, change[0], change[1])
    )


def _places(tree: Any, place: tuple[Any, ...] = ()) -> Any:
    if place:
        yield place
    for key in tree if isinstance(tree, dict) else range(min(len(tree), 2)) if isinstance(tree, list) else ():
        yield from _places(tree[key], (*place, key))


def _with(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    key, *rest = place
    copy = tree.copy()
    if rest:
        copy[key] = _with(tree[key], tuple(rest), value)
    elif value == "remove":
        del copy[key]
    else:
        copy[key] = value
    return copy
