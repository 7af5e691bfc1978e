"""The one error a user meets: what was found, what was expected, how to mend it."""

import difflib
from collections.abc import Iterable


class SyndiffError(ValueError):
    """A mistake the user can mend.

    The message names the file or the setting, what was found, what was expected and how to mend it.
    The command line prints it without a traceback and exits with status 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word, " (did you mean 'x'?)", or nothing when none of `known` is like it."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
