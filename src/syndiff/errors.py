"""The one error a user meets: what was found, what was expected, how to mend it."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxset = 3, 6, 6, 6, 6
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


class SyndiffError(ValueError):
    """A mistake the user can mend.

    The message names the file or the setting, what was found, what was expected and how to mend it.
    The command line prints it without a traceback and exits with status 2.

    >>> try:
    ...     syndiff.load("nowhere")
    ... except syndiff.SyndiffError as error:
    ...     print(str(error)[:52])
    nowhere holds no trained model (no checkpoints/best)
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word, " (did you mean 'x'?)", or nothing when none of `known` is like it."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(words: Iterable[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def shown(value: Any) -> str:
    """A value for a message: as `repr` writes it, but short, however large or deep it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 300:
        return f"a whole number of {value.bit_length()} bits"  # Python itself refuses to write the longest ones
    return _SHORT.repr(value)


def unquoted(value: Any) -> str:
    """`shown`, but text without its quotes: for a name that reads as a word of the sentence."""
    return shown(value)[1:-1] if isinstance(value, str) else shown(value)
