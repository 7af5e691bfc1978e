"""A second look: no seam, nothing outside the crops, exact where the network is, and nothing taken away for nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syndiff.data.boxes import Box
from syndiff.data.masks import count_components
from syndiff.data.resize import resize_image
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.evaluation.metrics import case_metrics
from syndiff.models.control import PlainNetwork
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.predictor import Start
from syndiff.models.refinement import Refinement, merged

SIDE = 64
"""Of the square that networks see here."""


class Bright(PlainNetwork):
    """Segments what is brighter than half, exactly, at the size that it sees."""

    def logits(self, image_bchw):
        return 40 * (image_bchw.mean(1, keepdim=True) - 0.5)

    def weight_sources(self, settings, *, autoencoder_here):
        return []


class Magnified(Bright):
    """As `Bright`, but blind to bright spots below a share of the picture: it sees small lesions only when zoomed."""

    def __init__(self, share=0.02):
        super().__init__()
        self.share = share

    def logits(self, image_bchw):
        logits = super().logits(image_bchw)
        large = (logits > 0).float().mean((1, 2, 3), keepdim=True) >= self.share
        return torch.where(large, logits, -40.0)


def disc(height, width, *, at, radius):
    """A mask of one disc; `at` and `radius` in shares of the sides and of the height."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (rows - at[0] * height) ** 2 + (columns - at[1] * width) ** 2 <= (radius * height) ** 2


def picture(mask):
    """Dark mucosa with a bright lesion."""
    return np.where(mask, 230, 40).astype(np.uint8)[..., None].repeat(3, axis=2)


def predictor(network, refine, **changes):
    return SegmenterPredictor(network, SIDE, name="x", refine=refine, **changes)


box_in = st.tuples(st.integers(1, 90), st.integers(1, 90)).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.lists(
            st.tuples(*(st.floats(0, 1) for _ in range(4))),
            max_size=4,
        ),
    )
)


def boxes_of(size, shares):
    """Boxes within a frame of this size, from shares of it."""
    for top, left, down, right in shares:
        starts = [int(share * (limit - 1)) for share, limit in zip((top, left), size, strict=True)]
        rest = [limit - start for start, limit in zip(starts, size, strict=True)]
        yield Box(*starts, *(1 + int(share * (room - 1)) for share, room in zip((down, right), rest, strict=True)))


@settings(max_examples=60, deadline=None)
@given(box_in, st.floats(0, 1), st.floats(0, 0.5), st.integers(1, 3))
def test_equal_answers_stay_what_they_are(drawn, value, margin, classes):
    size, shares = drawn
    frame = np.full((classes, *size), value, np.float32)
    crops = [(box, np.full((classes, 16, 16), value, np.float32)) for box in boxes_of(size, shares)]
    np.testing.assert_allclose(merged(frame, crops, margin), frame, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(box_in, st.integers(0, 1000))
def test_a_merged_answer_lies_between_the_looks_and_keeps_what_is_outside(drawn, seed):
    size, shares = drawn
    frame = np.random.default_rng(seed).random((1, *size), np.float32)
    boxes = list(boxes_of(size, shares))
    blended = merged(frame, [(box, np.ones((1, 8, 8), np.float32)) for box in boxes], 0.125)
    outside = np.ones(size, bool)
    for box in boxes:
        outside[box.slices] = False
    assert np.array_equal(blended[0][outside], frame[0][outside])
    assert (blended >= frame - 1e-6).all() and blended.max(initial=0) <= 1


def test_no_seam_shows_where_a_crop_begins():
    frame, box = np.zeros((1, 200, 200), np.float32), Box(40, 0, 120, 120)
    blended = merged(frame, [(box, np.ones((1, 64, 64), np.float32))], 0.125)[0]
    steps = max(np.abs(np.diff(blended, axis=axis)).max() for axis in (0, 1))
    assert steps < np.pi / 2 / (0.125 * 120) * 1.05  # the steepest slope of the cosine
    assert blended[100, 0] == 1  # where the crop ends with the frame, nothing fades


def test_a_contour_is_as_exact_as_the_crop_shows_it():
    mask = disc(600, 800, at=(0.4, 0.55), radius=0.13)
    scores = {
        refine: case_metrics(predictor(Bright(), refine).predict(picture(mask), case_id="a").mask, mask)
        for refine in ("none", "lesions")
    }
    assert scores["lesions"].hd95 < scores["none"].hd95 / 1.5
    assert scores["lesions"].dice > scores["none"].dice


def test_a_crop_at_the_frame_s_own_size_gives_the_very_mask():
    side = 2 * SIDE
    mask = np.zeros((side, side), bool)
    mask[40:71, 50:83] = True
    mask[40:50, 50:60] = False
    # The box is 33 pixels, the crop 64 with this context: half of the frame, at its own pixels.
    second = predictor(Bright(), "lesions")
    second.refinement = Refinement(context=64 / 34, max_zoom=2.0)
    assert np.array_equal(second.predict(picture(mask), case_id="a").mask, mask)


def test_without_a_second_look_nothing_changes():
    mask = disc(150, 200, at=(0.5, 0.5), radius=0.2)
    first = SegmenterPredictor(Bright(), SIDE, name="x").predict(picture(mask))
    again = predictor(Bright(), "none").predict(picture(mask))
    assert np.array_equal(first.probability, again.probability) and list(first.seconds) == list(again.seconds)
    assert "refine" not in again.seconds
    assert predictor(Bright(), "lesions").predict(picture(mask)).seconds["refine"] > 0


def test_a_frame_without_anything_suspected_gets_no_second_look():
    plain = picture(np.zeros((90, 120), bool))
    first, second = (predictor(Bright(), refine).predict(plain) for refine in ("none", "lesions"))
    assert np.array_equal(first.probability, second.probability)


def test_tiles_find_what_is_too_small_for_the_whole_frame():
    small = disc(300, 400, at=(0.3, 0.7), radius=0.075)  # 1.3 % of the frame, 3.7 % of a tile
    found = {
        refine: predictor(Magnified(), refine).predict(picture(small)).mask for refine in ("none", "lesions", "tiles")
    }
    assert not found["none"].any() and not found["lesions"].any()
    assert case_metrics(found["tiles"], small).dice > 0.95


def sees_only(*looks):
    """A `Bright` network that sees nothing except in these of its looks, counted from 1; and how many it was given."""
    sizes = []

    class Fickle(Bright):
        def logits(self, image_bchw):
            sizes.append(len(image_bchw))
            logits = super().logits(image_bchw)
            return logits if len(sizes) in looks else torch.full_like(logits, -40.0)

    return Fickle(), sizes


def test_a_second_look_that_sees_nothing_takes_nothing_away():
    image = picture(disc(150, 200, at=(0.5, 0.5), radius=0.12))
    first = predictor(Bright(), "none").predict(image)
    network, looks = sees_only(1)
    second = predictor(network, "lesions").predict(image)
    assert looks == [1, 1] and np.array_equal(first.probability, second.probability)


def test_what_only_tiles_show_does_not_count():
    network, looks = sees_only(2)
    image = picture(disc(150, 200, at=(0.3, 0.3), radius=0.12))
    assert not predictor(network, "tiles").predict(image).mask.any() and looks == [1, 4, 1]


@pytest.mark.parametrize(("found", "counts"), [(0.9, False), (0.4, True)])
def test_what_was_found_is_not_replaced_by_something_quite_different(found, counts):
    first = np.zeros((1, SIDE, SIDE), np.float32)
    first[0, 20:36, 20:36] = found
    speck = np.zeros((1, SIDE, SIDE), np.float32)
    speck[0, 30:36, 30:36] = 1

    def look(parts, in_all_views):
        return [speck] * len(parts)

    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    refined = Refinement().refine(image, first, first, look, Targets(), tiles=False)
    assert np.array_equal(refined, first) is not counts
    assert (refined > 0.5).any()


def test_a_piece_that_touches_nothing_suspected_does_not_count():
    first = np.zeros((1, SIDE, SIDE), np.float32)
    first[0, 24:36, 24:36] = 0.8
    more = np.zeros((1, SIDE, SIDE), np.float32)
    more[0, 20:44, 20:44] = 1
    more[0, 4:9, 4:9] = 1

    def look(parts, in_all_views):
        return [more] * len(parts)

    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    refined = Refinement().refine(image, first, first, look, Targets(), tiles=False)
    assert refined.max() == 1 and count_components(refined[0] > 0.5) == 1


def test_several_crops_are_one_batch_in_all_views():
    mask = disc(300, 400, at=(0.2, 0.2), radius=0.1) | disc(300, 400, at=(0.75, 0.8), radius=0.1)
    network, looks = sees_only(1, 2)
    answer = predictor(network, "lesions", tta=4).predict(picture(mask))
    assert looks == [4, 8] and answer.views.shape == (4, SIDE, SIDE)
    assert case_metrics(answer.mask, mask).dice > 0.98


def test_a_lesion_that_fills_the_frame_is_not_looked_at_again():
    network, looks = sees_only(1)
    predictor(network, "lesions").predict(picture(disc(150, 150, at=(0.5, 0.5), radius=0.45)))
    assert looks == [1]


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    seed=st.integers(0, 1000),
    refine=st.sampled_from(["lesions", "tiles"]),
)
def test_frames_of_any_size_are_answered(height, width, seed, refine):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (1 + height // 40, 1 + width // 40, 3)).astype(np.uint8)
    image = resize_image(coarse, max(height, width))[:height, :width]
    answer = predictor(Bright(), refine).predict(image)
    assert answer.probability.shape == (height, width)
    assert 0 <= answer.probability.min() <= answer.probability.max() <= 1
    assert np.array_equal(answer.mask, answer.probability > 0.5)


def test_classes_keep_excluding_each_other():
    targets = Targets(("polyp", "instrument"), (1, 2))
    both = np.zeros((2, 100, 100), np.float32)
    both[0, 20:50, 20:40], both[1, 20:50, 40:60] = 0.9, 0.9

    def look(parts, in_all_views):
        return [np.stack([np.eye(SIDE), 1 - np.eye(SIDE)]).astype(np.float32) for _ in parts]

    refined = Refinement(context=1.6, agreement=0.0).refine(
        np.zeros((100, 100, 3), np.uint8), both, both, look, targets, tiles=False
    )
    assert not np.array_equal(refined, both) and refined.sum(0).max() <= 1 + 1e-6


def test_wrong_words_and_what_does_not_go_together_are_refused():
    with pytest.raises(SyndiffError, match="refine is 'yes'; expected none, lesions, tiles"):
        predictor(Bright(), "yes")
    with pytest.raises(SyndiffError, match="first look; load it with refine none"):
        predictor(Bright(), "lesions").members(picture(np.zeros((9, 9), bool)), case_id="a", draws=1, tta=1)
    with pytest.raises(SyndiffError, match="begins with noise, not with latents; leave out start"):
        predictor(Bright(), "lesions").predict(picture(np.zeros((9, 9), bool)), start=Start(np.zeros((1, 0, 0, 0)), 5))
