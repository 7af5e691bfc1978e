"""A small learned text encoder: the words of a clinical grammar to a sequence for cross-attention."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from syndiff.data.words import tokenize
from syndiff.errors import SyndiffError

_PAD, _START, _FIRST_WORD = 0, 1, 2


def check_caption_length(caption: str, length: int) -> None:
    """Raise SyndiffError, showing what would be cut, for a caption of `length` words or more (one is the start)."""
    words = tokenize(caption)
    if len(words) >= length:
        raise SyndiffError(
            f"prompt {caption!r} has {len(words)} words, the compact inpainter reads {length - 1}; "
            f"{' '.join(words[length - 1 :])!r} would be cut. Shorten it, or adapt from scratch with a larger "
            f"inpainter.caption_length than {length}."
        )


class CaptionEncoder(nn.Module):
    """Captions over a fixed vocabulary -> (b, length, channels), and which of the positions hold a word (b, length).

    Every caption begins with a start token, so the empty caption, which stands for "no condition" in classifier-free
    guidance, has something to attend to.
    """

    def __init__(self, vocabulary: Sequence[str], *, channels: int, length: int, layers: int, heads: int = 4) -> None:
        super().__init__()
        self.length = length
        self._index = {word: _FIRST_WORD + i for i, word in enumerate(vocabulary)}
        self.word = nn.Embedding(_FIRST_WORD + len(self._index), channels, padding_idx=_PAD)
        self.position = nn.Parameter(0.02 * torch.randn(length, channels))
        self.layers = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(channels, heads, 4 * channels, dropout=0.0, batch_first=True, norm_first=True),
            layers,
            norm=nn.LayerNorm(channels),
            enable_nested_tensor=False,
        )

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Word indices (b, length) of captions, padded with zeros.

        Raises SyndiffError for a word that the encoder never learned, and for a caption that would be cut.
        """
        rows = torch.full((len(captions), self.length), _PAD)
        for row, caption in zip(rows, captions, strict=True):
            words = tokenize(caption)
            unknown = [word for word in words if word not in self._index]
            if unknown:
                raise SyndiffError(
                    f"prompt {caption!r}: the compact inpainter never learned {', '.join(sorted(set(unknown)))}. It "
                    f"knows {', '.join(sorted(self._index))}; use these words, or adapt it to captions that hold yours."
                )
            check_caption_length(caption, self.length)
            row[: len(words) + 1] = torch.tensor([_START, *(self._index[word] for word in words)])
        return rows

    def forward(self, tokens_bl: Tensor) -> tuple[Tensor, Tensor]:
        """The encoded captions and the mask of their words."""
        present = tokens_bl != _PAD
        encoded = self.layers(self.word(tokens_bl) + self.position, src_key_padding_mask=~present)
        return encoded, present
