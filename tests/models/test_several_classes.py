"""A segmenter of several classes: one mask latent a class, denoised jointly; one class is a case of it."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from syndiff.data.loading import CaseArrays
from syndiff.data.settings import AugmentationSettings
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import load_autoencoder
from syndiff.models.network import Batch, LossWeights, decided, mask_loss, probabilities
from syndiff.models.prediction import SegmenterPredictor, load_segmenter, mean_dice, model_description
from syndiff.models.segmenter import build_segmenter, initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import write_model
from syndiff.models.tensors import trainable_state
from syndiff.training.segmentation import SegmentationTask
from syndiff.training.settings import TrainingSettings

NAMES, NUMBERS = ("polyp", "instrument"), (1, 4)
EITHER = [Targets(NAMES, NUMBERS), Targets(NAMES, NUMBERS, overlap=True)]
TINY = {"image_size": 32, "pretrained": False, "condition_channels": 8, "denoiser_channels": 8, "autoencoder": "mask"}


def settings(kind: str = "diffusion", **changes) -> SegmenterSettings:
    return SegmenterSettings(kind=kind, **{**TINY, **changes})


def two_squares(count: int, targets: Targets, seed: int = 0) -> CaseArrays:
    """Dark noise with a red square at the left and a green one at the right, a class each."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, 2, 32, 32, dtype=torch.uint8)
    for image, mask in zip(images, masks, strict=True):
        for index, left in enumerate((0, 16)):
            y, x = torch.randint(0, 8, (2,), generator=generator).tolist()
            mask[index, y + 4 : y + 16, left + x : left + x + 8] = 1
            image[index] += 180 * mask[index]
    ids = tuple(f"{seed}-{i}" for i in range(count))
    return CaseArrays(ids, images, masks, torch.zeros(count, dtype=torch.int64), targets=targets)


def test_each_class_is_encoded_and_decoded_as_a_mask_of_its_own() -> None:
    autoencoder = load_autoencoder("mask")
    masks = two_squares(3, EITHER[0]).masks.float()
    with torch.no_grad():
        together = autoencoder.encode_mask(masks)
        apart = [autoencoder.encode_mask(masks[:, index : index + 1]) for index in range(2)]
        torch.testing.assert_close(together, torch.cat(apart, 1))
        decoded = autoencoder.decode_mask(together, 2)
        torch.testing.assert_close(decoded, torch.cat([autoencoder.decode_mask(each) for each in apart], 1))
    assert ((decoded > 0) == masks.bool()).float().mean() > 0.99


@pytest.mark.parametrize("targets", EITHER, ids=["exclusive", "overlap"])
@pytest.mark.parametrize("kind", ["diffusion", "control"])
def test_a_network_of_two_classes_learns_and_answers_for_both(kind: str, targets: Targets, tmp_path) -> None:
    model = initialise(settings(kind), 0, targets)
    shape = model.noise_shape(32, 32)
    assert shape == ((2 * 16, 4, 4) if kind == "diffusion" else (0, 0, 0))
    cases, noise = two_squares(2, targets), torch.randn(2, *shape)
    batch = Batch(cases.images.float() / 255, cases.masks.float(), noise, torch.tensor([999, 3]))
    losses = model.losses(batch, LossWeights(1.0, 1.0))
    assert set(losses) == ({"latent", "mask", "guide"} if kind == "diffusion" else {"mask"})
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.backbone_part.parameters())
    logits = model.eval()(batch.image, noise)
    assert logits.shape == (2, 2, 32, 32)
    write_model(tmp_path, trainable_state(model), model_description(settings(kind), model, step=1, val_dice=None))
    again, described = load_segmenter(tmp_path)
    assert again.targets == targets
    assert described["targets"] == {"classes": {"1": "polyp", "4": "instrument"}, "overlap": targets.overlap}
    torch.testing.assert_close(again(batch.image, noise), logits)


def test_a_description_without_targets_is_of_one_class_and_damage_is_told(tmp_path) -> None:
    model = initialise(settings("control"), 0)
    described = model_description(settings("control"), model, step=1, val_dice=None)
    assert "targets" not in described and model.head.out_channels == 1
    for wrong in ({"classes": {"1": "polyp"}, "overlap": False}, {"classes": {"1": "a", "x": "b"}, "overlap": True}, 3):
        write_model(tmp_path, trainable_state(model), {**described, "targets": wrong})
        with pytest.raises(SyndiffError, match=r"model.json: targets.*train again"):
            load_segmenter(tmp_path)


def test_probabilities_of_classes_that_exclude_each_other_leave_the_rest_to_the_background() -> None:
    logits = 4 * torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    exclusive, overlap = (probabilities(logits, targets) for targets in EITHER)
    whole = torch.cat([torch.zeros(3, 1, 5, 5), logits], 1).softmax(1)
    torch.testing.assert_close(exclusive, whole[:, 1:])
    torch.testing.assert_close(overlap, logits.sigmoid())
    for targets, found in zip(EITHER, (exclusive, overlap), strict=True):
        for case in range(3):
            expected = targets.decide(found[case].numpy())
            np.testing.assert_array_equal(decided(logits, targets)[case], expected)


def test_the_loss_of_several_classes_is_the_mean_over_them_and_that_of_one_is_a_case_of_it() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 6, 6, generator=generator)
    mask = torch.nn.functional.one_hot(torch.randint(0, 3, (3, 6, 6), generator=generator), 3).movedim(-1, 1)[:, 1:]
    apart = torch.stack([mask_loss(logits[:, i : i + 1], mask[:, i : i + 1].float()) for i in range(2)])
    torch.testing.assert_close(mask_loss(logits, mask.float(), EITHER[1]), apart.mean())
    exclusive = mask_loss(logits, mask.float(), EITHER[0])
    whole = torch.cat([torch.zeros(3, 1, 6, 6), logits], 1)
    index = mask[:, 0] + 2 * mask[:, 1]
    chance = whole.softmax(1)[:, 1:]
    dice = (2 * (chance * mask).sum((2, 3)) + 1) / ((chance + mask).sum((2, 3)) + 1)
    torch.testing.assert_close(exclusive, cross_entropy(whole, index) + 1 - dice.mean())
    absent = torch.cat([logits[:, :1], torch.full((3, 1, 6, 6), -60.0)], 1)  # as if there were one class alone
    one = torch.cat([mask[:, :1], 0 * mask[:, :1]], 1).float()
    entropy = mask_loss(absent, one, EITHER[0]) - mask_loss(logits[:, :1], one[:, :1])
    both = (1 - (2 * (logits[:, :1].sigmoid() * one[:, :1]).sum((1, 2, 3)) + 1)
            / ((logits[:, :1].sigmoid() + one[:, :1]).sum((1, 2, 3)) + 1)).mean()  # fmt: skip
    torch.testing.assert_close(entropy, -both / 2)


def test_validation_is_the_mean_over_classes() -> None:
    targets, cases = EITHER[0], two_squares(3, EITHER[0])

    class Left(torch.nn.Module):
        """Finds all of the first class and nothing of the second."""

        def __init__(self) -> None:
            super().__init__()
            self.targets, self.weight = targets, torch.nn.Parameter(torch.zeros(1))

        def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
            return 0, 0, 0

        def forward(self, image, noise):
            return torch.stack([20 * (image[:, 0] - 0.5), torch.full_like(image[:, 0], -1.0)], 1)

    assert mean_dice(Left(), cases, batch_size=2) == pytest.approx(1 / 2)


def test_a_trained_network_answers_for_two_classes() -> None:
    training = TrainingSettings(steps=10, batch_size=4, precision="fp32", coarse_share=0, real_share=0)
    task = SegmentationTask(
        settings(condition_channels=16, denoiser_channels=16),
        training,
        AugmentationSettings.none(),
        train_cases=two_squares(4, EITHER[0]),
        val_cases=two_squares(2, EITHER[0], seed=1),
        seed=0,
    )
    optimizer = torch.optim.AdamW([p for p in task.model.parameters() if p.requires_grad], 3e-3)
    losses = []
    for step in range(training.steps):
        task.objective.train()
        found = task.objective(task.batch(step, process=0, processes=1))
        optimizer.zero_grad()
        sum(found.values()).backward()
        optimizer.step()
        losses.append(found["guide"].item())
    assert losses[-1] < losses[0]
    assert 0 <= task.validate().score <= 1
    predictor = SegmenterPredictor(task.model, 32, name="two", tta=2)
    image = task.val_cases.images[0].permute(1, 2, 0).numpy()
    answer = predictor.predict(np.ascontiguousarray(image.repeat(2, 0)), case_id="a")
    assert answer.probabilities.shape == (2, 64, 32) and answer.masks.sum(0).max() <= 1
    np.testing.assert_array_equal(answer.mask, answer.masks.any(0))
    np.testing.assert_allclose(answer.probability, answer.probabilities.sum(0), rtol=1e-5)
    assert answer.views.shape == (2, 32, 32) and 0 <= answer.disagreement <= 1
    with pytest.raises(SyndiffError, match="takes one class, but here are 2 classes"):
        predictor.members(image, case_id="a", draws=2, tta=1)


def test_a_pretrained_denoiser_has_one_latent() -> None:
    chosen = settings(denoiser="unet", denoiser_channels=32, unet_multipliers=(1, 1), unet_attention=(), image_size=64,
                      denoiser_weights="somewhere")  # fmt: skip
    with pytest.raises(SyndiffError, match="denoiser_weights takes one class, but here are 2 classes"):
        build_segmenter(chosen, targets=EITHER[0])
