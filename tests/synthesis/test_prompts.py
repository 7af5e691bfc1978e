"""Words that come from the mask never contradict it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndiff.synthesis.prompts import shape_word, size_word, write_prompt


def ellipse(height_radius: float, width_radius: float, size: int = 200) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - size / 2
    return (rows / height_radius) ** 2 + (columns / width_radius) ** 2 < 1


@pytest.mark.parametrize(("radius", "word"), [(6, "diminutive"), (18, "small"), (32, "medium-sized"), (60, "large")])
def test_size_follows_the_area(radius: float, word: str) -> None:
    assert size_word(ellipse(radius, radius)) == word


@pytest.mark.parametrize(
    ("radii", "word"), [((30, 30), "round"), ((20, 30), "oval"), ((30, 20), "oval"), ((10, 50), "elongated")]
)
def test_shape_follows_the_axes(radii: tuple[float, float], word: str) -> None:
    assert shape_word(ellipse(*radii)) == word


def test_polyps_get_the_papers_phrase_and_others_their_own_name() -> None:
    mask, rng = ellipse(30, 30), np.random.default_rng(0)
    assert "sessile polyp" in write_prompt(mask, rng, name="polyp").text
    nucleus = write_prompt(mask, rng, name="nucleus", modality="fluorescence microscopy")
    assert "nucleus" in nucleus.text and "fluorescence microscopy" in nucleus.text
    assert "polyp" not in nucleus.text + nucleus.negative
    assert "lesion" in write_prompt(mask, rng).text


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_any_mask_gets_a_prompt_with_its_words(height: int, width: int, seed: int) -> None:
    mask = np.zeros((20, 20), bool)
    mask[:height, :width] = True
    prompt = write_prompt(mask, np.random.default_rng(seed), name="polyp")
    assert size_word(mask) in prompt.text and shape_word(mask) in prompt.text
    assert prompt.negative
    assert prompt == write_prompt(mask, np.random.default_rng(seed), name="polyp")
