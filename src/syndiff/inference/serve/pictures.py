"""The pictures that the page works on, in memory alone: the oldest go when there are too many bytes."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from numpy.typing import NDArray

from syndiff.imaging import encode_jpeg
from syndiff.inference.serve.decoding import SHOWN_SIDE, shrunk
from syndiff.inference.serve.refusal import Refusal

KEPT_BYTES = 512 * 2**20


@dataclass
class Picture:
    """One decoded frame (HxWx3, uint8 or uint16); `case_id` is what the noise of its prediction depends on."""

    image: NDArray
    name: str
    case_id: str
    frame: int
    frames: int | None
    _jpeg: bytes = field(default=b"", repr=False)

    def jpeg(self) -> bytes:
        """The picture for the eye, no side longer than 4,096 pixels."""
        self._jpeg = self._jpeg or encode_jpeg(shrunk(self.image, SHOWN_SIDE))
        return self._jpeg


class Pictures:
    """Pictures by an id that nobody can guess."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._most, self._lock = most, threading.Lock()
        self._held: OrderedDict[str, Picture] = OrderedDict()

    def add(self, picture: Picture) -> str:
        """Keep a picture, and its id; those unused for longest go where all take more than `most` bytes."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._held[name] = picture
            while len(self._held) > 1 and sum(each.image.nbytes for each in self._held.values()) > self._most:
                self._held.popitem(last=False)
        return name

    def __getitem__(self, name: str) -> Picture:
        """Raises Refusal (404) for a picture that is gone."""
        with self._lock:
            if name not in self._held:
                raise Refusal(404, "The server does not hold this picture any more; open it again.")
            self._held.move_to_end(name)
            return self._held[name]
