"""The noise of a case: the same numbers as torch draws, without torch, and of nothing but seed and case."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syndiff.models.noise import case_noise, normal


@given(st.integers(0, 2**63 - 1), st.integers(1, 5), st.integers(1, 4))
def test_it_is_what_torch_draws(seed, channels, side):
    shape = (channels, 4 * side, 4 * side)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()
    assert np.allclose(normal(shape, seed), drawn, atol=2e-6, rtol=1e-6)


def test_it_belongs_to_the_seed_and_the_case():
    noise = case_noise((16, 32, 32), seed=3, case_id="a/b")
    assert noise.shape == (1, 16, 32, 32) and noise.dtype == np.float32
    assert np.array_equal(noise, case_noise((16, 32, 32), seed=3, case_id="a/b"))
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    # Neither the seed nor the case may slide into the other.
    assert not np.array_equal(case_noise((1, 4, 4), seed=1, case_id="1"), case_noise((1, 4, 4), seed=11, case_id=""))


def test_a_network_without_noise_draws_none():
    assert case_noise((0, 0, 0), seed=0, case_id="a", count=3).shape == (3, 0, 0, 0)


def test_a_broken_block_is_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        normal((3, 5), 0)
