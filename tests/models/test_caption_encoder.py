"""The learned text encoder: which words it reads, and that padding means nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syndiff.errors import SyndiffError
from syndiff.models.caption_encoder import CaptionEncoder

WORDS = ("a", "large", "polyp", "red", "small")


def make(length: int = 8) -> CaptionEncoder:
    torch.manual_seed(0)
    return CaptionEncoder(WORDS, channels=16, length=length, layers=1).eval()


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=7), st.lists(st.sampled_from(WORDS), max_size=7))
def test_a_caption_is_encoded_alike_beside_any_other(caption, other):
    encoder = make()
    alone, present = encoder(encoder.tokens([" ".join(caption)]))
    beside, _ = encoder(encoder.tokens([" ".join(other), " ".join(caption)]))
    assert present.sum() == len(caption) + 1  # the start token
    torch.testing.assert_close(beside[1][present[0]], alone[0][present[0]], atol=1e-5, rtol=1e-5)


def test_words_and_their_order_matter_and_case_and_punctuation_do_not():
    encoder = make()
    tokens = encoder.tokens(["A small, red polyp.", "a small red polyp", "a red small polyp", "a large red polyp"])
    assert torch.equal(tokens[0], tokens[1])
    encoded, _ = encoder(tokens)
    assert (encoded[1] - encoded[2]).abs().max() > 1e-3
    assert (encoded[1] - encoded[3]).abs().max() > 1e-3


def test_a_word_that_was_never_learned_is_an_error_that_lists_those_that_were():
    with pytest.raises(SyndiffError, match=r"never learned blue, sessile.*knows a, large, polyp, red, small"):
        make().tokens(["a sessile blue polyp"])


def test_a_caption_that_would_be_cut_is_an_error_that_shows_what():
    with pytest.raises(SyndiffError, match=r"has 4 words.*reads 3.*'polyp' would be cut"):
        make(length=4).tokens(["a small red polyp"])
    assert make(length=4).tokens(["small red polyp"]).shape == (1, 4)
