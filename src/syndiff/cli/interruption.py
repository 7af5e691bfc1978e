"""Ctrl-C and SIGTERM: a sentence that says what is kept, never a traceback."""

import signal
from types import FrameType
from typing import Any, Self

from syndiff.studies.study import Study

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GOES_ON = "What is finished is kept: the same command goes on where it stopped."
_STOPPED = {
    "Run": _GOES_ON,
    "Demo": _GOES_ON,
    "Adapt": "The same command goes on from the last checkpoint, if there is one.",
    "Train": "The same command goes on from the last checkpoint, if there is one.",
    "Synthesize": _GOES_ON,
    "Merge": _GOES_ON,
    "Predict": _GOES_ON,
    "Serve": "Pictures and masks were in memory only; saved reviews are on the disk.",
    "Evaluate": "Nothing was changed: earlier results, if any, are as they were.",
}
"""What a stopped verb leaves. All others write their result at the end, in one go."""


class Interruption:
    """Context manager: SIGINT and SIGTERM raise KeyboardInterrupt and are remembered in `signal`.

    A second one, while the first is still being cleaned up after, ends the process at once. One that was ignored before
    (as under nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._stop)
            for number in _SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self.signal:
            die(number)
        self.signal = number
        raise KeyboardInterrupt


def die(number: int) -> None:
    """End this process as the signal does where nobody handles it."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def chosen_verb(verb: Any) -> Any:
    """The verb itself where it is one of several, as in `data inspect`."""
    return chosen_verb(verb.verb) if hasattr(verb, "verb") else verb


def stopped_sentence(verb: Any) -> str:
    """What is left of a verb that was stopped."""
    return _GOES_ON if isinstance(verb, Study) else _STOPPED.get(type(verb).__name__, "Nothing was written.")
