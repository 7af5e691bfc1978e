"""Every number among the settings has a range, which is kept, shown and named whoever makes the settings."""

import math
import re
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.bounds import Bounds, Section, kinds_of
from syndiff.config.settings import Settings
from syndiff.errors import SyndiffError

SECTIONS: list[type[Section]] = [
    kind for name, kind in get_type_hints(Settings).items() if name in {f.name for f in fields(Settings)} - {"chosen"}
]


def bounds_of(kind: Any) -> list[tuple[type, Bounds | None]]:
    """The number types within the type of a field, each with its bounds."""
    if kind in (int, float):
        return [(kind, None)]
    if get_origin(kind) is Annotated and isinstance(get_args(kind)[1], Bounds):
        return [get_args(kind)[:2]]
    return [found for part in get_args(kind) if isinstance(part, type) or get_origin(part) for found in bounds_of(part)]


NUMBERS = [
    (section, name, *found) for section in SECTIONS for name, kind in kinds_of(section).items()
    for found in bounds_of(kind)
]  # fmt: skip


def test_every_number_has_a_range():
    assert len(NUMBERS) > 90
    assert [f"{section.section}.{name}" for section, name, _, bounds in NUMBERS if bounds is None] == []


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.section)
def test_a_default_is_within_its_range(section):
    section()


@given(st.sampled_from(NUMBERS), st.one_of(st.integers(), st.floats()))
def test_a_number_is_taken_within_its_range_and_refused_elsewhere(number, value):
    section, name, kind, bounds = number
    field = kinds_of(section)[name]
    if (get_origin(field) is Annotated and get_args(field)[0] is not kind) or get_origin(field) is tuple:
        return  # a list of such numbers
    good = bounds.hold(value) and (kind is float or isinstance(value, int))
    if good:
        assert section.checked(name, value, field) == value
        return
    with pytest.raises(SyndiffError, match=re.escape(f"{section.section}.{name} is ")) as refusal:
        section.checked(name, value, field)
    assert str(bounds) in str(refusal.value)


@given(st.floats(-10, 10), st.floats(0, 10), st.booleans(), st.booleans())
def test_the_ends_belong_to_a_range_as_it_says(low, width, above, below):
    bounds = Bounds(low, low + width, above, below)
    assert bounds.hold(low) == (not above and not (below and low == low + width))
    assert not bounds.hold(math.nan) and not bounds.hold(math.inf) and not bounds.hold(-math.inf)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.image_size=320000", "model.image_size is 320000, expected 32 to 2048, a multiple of 32."),
        ("model.image_size=1" + 400 * "0", "model.image_size is a whole number of 1329 bits, expected 32 to 2048"),
        ("model.image_size=64.0", "model.image_size is 64.0, expected a whole number, 32 to 2048, a multiple of 32."),
        ("model.condition_channels=1e9", "model.condition_channels is 1000000000.0, expected a whole number"),
        ("inpainter.crop_size=32", "inpainter.crop_size is 32, expected 64 to 1024, a multiple of 32."),
        ("inpainter.crop_size=100000", "inpainter.crop_size is 100000, expected 64 to 1024, a multiple of 32."),
        ("inpainter.channels=[32]", "expected a list [a, b, c], each a whole number, 32 to 2048, a multiple of 32."),
        ("inpainter.channels=64", "expected a list [a, b, c], each a whole number, 32 to 2048, a multiple of 32."),
        ("inpainter.beta_start=0.5", "inpainter.beta_start is 0.5, expected less than beta_end, which is 0.012."),
        ("compact.temperature=0", "compact.temperature is 0, expected above 0 and at most 2."),
        ("gates.quantile=.nan", "gates.quantile is nan, expected above 0 and below 0.5."),
        ("training.ema_decay=1", "training.ema_decay is 1, expected at least 0, below 1."),
        ("training.grad_clip=-.inf", "training.grad_clip is -inf, expected above 0."),
        ("sdxl.strength=often", "sdxl.strength is 'often', expected a number, above 0 and at most 1 or by_size."),
        ("sdxl.context=0.5", "sdxl.context is 0.5, expected 1 to 100, or 0."),
        ("training.steps=true", "training.steps is true, expected a whole number, 1 to 100,000,000."),
        ("adapt.max_context=1", "adapt.min_context is 1.5, expected no more than max_context, which is 1."),
        ("synthesis.share=.nan", "synthesis.share is nan, expected above 0 and at most 100."),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_told_what_the_range_is(setting, message, syndiff):
    refused = syndiff("settings", "--set", setting)
    assert refused.status == 2 and message in refused.err, refused.err


def test_the_ranges_are_shown_with_the_settings(syndiff):
    shown = " ".join(syndiff("settings").out.split())
    for words in ("A whole number, 32 to 2048, a multiple of 32.", "A list [a, b], each a number, 0.01 to 100."):
        assert words in shown
    # one line of `syndiff settings` for each number
    assert all(str(bounds) in shown for _, _, _, bounds in NUMBERS)
