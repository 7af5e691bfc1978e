"""What the server says no to: a status of HTTP and a sentence."""

from syndiff.errors import SyndiffError


class Refusal(SyndiffError):
    """A request that is not answered; `status` is HTTP's: 403, 404, 413, 429 and so on."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
