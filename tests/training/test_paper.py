"""The paper preset: its size on the meta device; all of it trained, resumed and sampled with narrow weights."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from test_resume import assert_equal
from tiny_training import bright_squares, tiny_train

from syndiff.config.loading import load_settings
from syndiff.config.settings import Settings
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import KL_F8, Autoencoder, Kl, load_autoencoder
from syndiff.models.prediction import SegmenterPredictor, load_segmenter
from syndiff.models.segmenter import initialise
from syndiff.models.unet import UNetDenoiser
from syndiff.training import loop
from syndiff.training.checkpoints import load_state
from syndiff.training.memory import FP32, Part, count_memory, training_shapes
from syndiff.training.segmentation import SegmentationTask
from tiny_pipelines import save_narrow_kl

NARROW = [
    *("model.image_size=32", "model.denoiser_channels=32", "model.unet_multipliers=[1,2]", "model.unet_blocks=1"),
    *("model.unet_attention=[2]", "model.unet_heads=4", "training.precision=fp32", "training.warmup_steps=2"),
    *("training.learning_rate=0.001", "training.batch_size=2", "training.steps=4"),
    *("training.validate_every=2", "training.checkpoint_every=1"),
]


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory) -> Path:
    return save_narrow_kl(tmp_path_factory.mktemp("narrow") / "kl-f8")


@pytest.fixture
def preset(autoencoder):
    return lambda *changes: load_settings("paper", None, [f"model.autoencoder={autoencoder}", *NARROW, *changes])


def train(run: Path, settings: Settings, **changes) -> Path:
    sections = {"model_settings": settings.model, "settings": settings.training, "augmentation": settings.augmentation}
    return tiny_train(run, **sections, **changes)


@cache
def paper_autoencoder() -> Autoencoder:
    """KL-f8 at full size, without memory."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        codec = Kl(AutoencoderKL(**KL_F8))
    return Autoencoder(codec, latent_channels=4, scaling_factor=0.18215, source="shapes", fingerprint="none")


def test_the_parameters_are_those_of_the_paper():
    settings = load_settings("paper")
    objective, parts = training_shapes(settings.model, settings.training, paper_autoencoder())
    head = 8 * 4 + 4
    assert parts == [
        Part("autoencoder", 83_653_863, 0),
        Part("vision encoder", 34_163_592 + head, 34_163_592 + head),
        Part("denoiser", 294_972_292, 294_972_292),
    ]
    assert all(parameter.is_meta for parameter in objective.parameters())


class TestTraining:
    @pytest.mark.parametrize("changes", [(), ("training.ema_encoder=false", "model.latent_scaling=measured")])
    def test_stopped_and_started_again_it_ends_with_the_same_bytes(self, preset, changes, tmp_path):
        settings = preset(*changes)
        train(tmp_path / "whole", settings)
        for stop in (1, 3, None):
            torch.manual_seed(stop or 0)
            train(tmp_path / "parts", settings, stop_after=stop)
        assert_equal(tmp_path / "parts", tmp_path / "whole")

    def test_it_starts_at_the_last_timestep_at_the_papers_and_takes_steps(self, preset, tmp_path):
        checkpoint = train(tmp_path, preset())
        image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        answers = {}
        for timestep, steps in ((None, 1), (999, 1), (50, 1), (None, 4), (50, 3)):
            predictor = SegmenterPredictor.load(checkpoint, name="x", timestep=timestep, steps=steps)
            answers[timestep, steps] = predictor.predict(image, case_id="a").probability
            assert answers[timestep, steps].shape == (40, 50)
        assert np.array_equal(answers.pop((None, 1)), answers[999, 1])
        several = list(answers.values())
        assert not any(np.array_equal(a, b) for i, a in enumerate(several) for b in several[:i])

    def test_losses_are_the_papers_two(self, preset):
        settings = preset()
        task = task_of(settings)
        losses = task.objective(task.batch(0, process=0, processes=1))
        assert set(losses) == {"noise", "latent"}

    def test_checkpointing_gradients_changes_nothing_but_memory(self, preset):
        found = []
        for changes in (("training.gradient_checkpointing=true",), ("training.gradient_checkpointing=false",)):
            task = task_of(preset(*changes, "model.encoder_dropout=0.5"))
            torch.manual_seed(3)
            losses = task.objective.train()(task.batch(0, process=0, processes=1))
            sum(losses.values()).backward()
            found.append([losses["latent"], *(p.grad for p in task.model.parameters() if p.grad is not None)])
        for first, second in zip(*found, strict=True):
            torch.testing.assert_close(first, second)

    def test_tau_theta_begins_as_the_autoencoders_encoder_and_is_trained(self, preset, tmp_path):
        settings = preset()
        original = load_autoencoder(settings.model.autoencoder).codec.model.encoder.state_dict()
        start = initialise(settings.model, 0).encoder.backbone.state_dict()
        assert all(torch.equal(start[name], value) for name, value in original.items())
        random = initialise(replace(settings.model, pretrained=False), 1).encoder.backbone.state_dict()
        assert not torch.equal(random["conv_in.weight"], original["conv_in.weight"])
        trained = load_segmenter(train(tmp_path, settings))[0]
        moved = trained.encoder.backbone.state_dict()
        assert not torch.equal(moved["conv_in.weight"], original["conv_in.weight"])
        frozen = trained.autoencoder.codec.model.encoder.state_dict()
        assert all(torch.equal(frozen[name], value) for name, value in original.items())

    def test_frozen_only_its_convolution_is_trained(self, preset, tmp_path):
        settings = preset("training.backbone_lr_scale=0")
        before = initialise(settings.model, 0).encoder.state_dict()
        after = load_segmenter(train(tmp_path, settings))[0].encoder.state_dict()
        changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
        assert changed == {"head.weight", "head.bias"}
        task = task_of(settings)
        task.objective.train()
        assert not task.model.encoder.backbone.training and task.model.denoiser.training

    def test_dropout_acts_in_training_alone(self, preset):
        encoder = initialise(preset().model, 0).encoder
        assert {m.p for m in encoder.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}
        image = torch.rand(1, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(encoder.eval()(image), encoder(image))
            assert not torch.equal(encoder.train()(image), encoder(image))

    @pytest.mark.parametrize("averaged", [True, False])
    def test_the_average_may_leave_tau_theta_out(self, preset, averaged, tmp_path):
        checkpoint = train(tmp_path, preset(f"training.ema_encoder={averaged}"))
        state, _ = load_state(checkpoint.parent / "000004")
        names = {name.removeprefix("ema.").split(".")[0] for name in state if name.startswith("ema.")}
        assert names == ({"encoder", "denoiser"} if averaged else {"denoiser"})
        model = load_segmenter(checkpoint.parent / "000004")[0].state_dict()
        live = {name.removeprefix("live."): value for name, value in state.items() if name.startswith("live.")}
        assert torch.equal(model["encoder.head.weight"], live["encoder.head.weight"]) != averaged
        assert not torch.equal(model["denoiser.network.conv_in.weight"], live["denoiser.network.conv_in.weight"])

    def test_a_measured_scaling_is_stated_and_taken_again(self, preset, tmp_path):
        cases = bright_squares(5, 0)
        checkpoint = train(tmp_path, preset("model.latent_scaling=measured"))
        model, described = load_segmenter(checkpoint)
        assert described["autoencoder"]["scaling_factor"] == model.autoencoder.scaling_factor != 0.18215
        with torch.no_grad():
            deviation = model.autoencoder.encode_mask(cases.masks.float()).std(correction=0).item()
        assert deviation == pytest.approx(1, abs=1e-4)
        own = task_of(preset()).model.autoencoder
        assert own.scaling_factor == 0.18215

    def test_weights_may_be_given_to_start_from(self, preset, tmp_path):
        settings = preset()
        wide = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "attention": (2,), "heads": 4}
        start = UNetDenoiser(latent_channels=4, condition_channels=0, **wide)
        torch.nn.init.normal_(start.network.conv_out.weight)
        start.network.save_pretrained(tmp_path / "church")
        settings = preset(f"model.denoiser_weights={tmp_path / 'church'}", "model.denoiser_extra_inputs=halve")
        taken = initialise(settings.model, 0).denoiser.network
        assert torch.equal(taken.conv_out.weight, start.network.conv_out.weight)
        assert torch.equal(taken.conv_in.weight, torch.cat([start.network.conv_in.weight] * 2, 1) / 2)
        checkpoint = train(tmp_path / "run", settings)
        (tmp_path / "church").rename(tmp_path / "gone")  # a checkpoint needs them no more
        assert load_segmenter(checkpoint)[0].denoiser.network.conv_out.weight.any()

    def test_a_clamped_channel_cannot_outvote_the_others(self, preset):
        model = initialise(preset().model, 0)
        decoded = torch.tensor([5.0, -0.9, -0.9]).view(1, 3, 1, 1)
        model.autoencoder.decode = lambda latent: decoded
        assert model.train().decode_logits(torch.empty(0)) > 0
        assert model.eval().decode_logits(torch.empty(0)) < 0


def task_of(settings: Settings) -> SegmentationTask:
    cases = bright_squares(5, 0)
    return SegmentationTask(settings.model, settings.training, settings.augmentation, train_cases=cases, seed=0)


class TestMemory:
    def count(self, settings):
        autoencoder = load_autoencoder(settings.model.autoencoder)
        objective, parts = training_shapes(settings.model, settings.training, autoencoder)
        return count_memory(settings.model, settings.training, objective, bf16=False), parts

    def test_it_is_that_of_a_real_step(self, preset):
        """Autograd's own account of the real network, on real tensors."""
        settings = preset("training.gradient_checkpointing=false", "model.encoder_dropout=0")
        memory, parts = self.count(settings)
        task = task_of(settings)
        own = {p.untyped_storage().data_ptr() for p in task.model.parameters()}
        kept: dict[int, torch.Tensor] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            task.objective.train()(task.batch(0, process=0, processes=1))
        assert memory.kept == pytest.approx(sum(t.untyped_storage().nbytes() for t in kept.values()), rel=0.02)
        assert memory.weights == sum(p.untyped_storage().nbytes() for p in task.model.parameters())
        assert memory.gradients == FP32 * sum(part.trained for part in parts) == memory.moments / 2

    def test_checkpointing_keeps_less_and_a_batch_more(self, preset):
        plain = preset("training.gradient_checkpointing=false")
        kept = [self.count(s)[0].kept for s in (preset(), plain, preset("training.batch_size=8"))]
        assert kept[0] < 0.8 * kept[1] and kept[2] == pytest.approx(4 * kept[0], rel=0.1)

    @pytest.mark.parametrize("averaged", [True, False])
    def test_a_checkpoint_takes_what_was_said(self, preset, averaged, tmp_path):
        settings = preset(f"training.ema_encoder={averaged}")
        checkpoint = train(tmp_path, settings)
        size = sum(path.stat().st_size for path in checkpoint.rglob("*.safetensors"))
        assert self.count(settings)[0].checkpoint == pytest.approx(size, rel=0.1)  # narrow: names count


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["model.image_size=144"], "image_size is 144, expected 32 to 2048, a multiple of 32"),
        (["model.image_size=160"], "image_size is 160, expected a multiple of 128"),
        (["model.inference_timestep=1000"], "0 to 999"),
        (["model.inference_timestep=50", "model.inference_steps=52"], "1 to 51 from timestep 50"),
        (["model.denoiser_channels=48"], "multiple of 32"),
        (["model.unet_heads=7"], "divisor of denoiser_channels"),
        (["model.unet_attention=[3]"], "downsamplings of its levels, 1, 2, 4, 8, 16"),
        (["model.unet_multipliers=[1]"], "2 to 8 values"),
        (["model.encoder_dropout=1.0"], "below 1"),
        (
            ["model.encoder=efficientnet-lite0"],
            "encoder_dropout: 0.2 has no effect with the encoder efficientnet-lite0",
        ),
        (["model.denoiser=compact", "model.unet_heads=4"], "unet_heads: 4 has no effect with the denoiser compact"),
        (["model.denoiser_extra_inputs=halve"], "no effect with no denoiser_weights"),
        (["model.denoiser_weights_revision=abc"], "no effect with no denoiser_weights"),
        (["model.encoder=vit"], "efficientnet-lite0"),
    ],
)
def test_an_impossible_setting_is_refused(changes, words):
    with pytest.raises(SyndiffError, match=words):
        load_settings("paper", None, changes)


def test_the_copy_needs_an_autoencoder_that_can_be_copied(preset):
    with pytest.raises(SyndiffError, match="the autoencoder compact is of another kind"):
        initialise(replace(preset().model, autoencoder="compact"), 0)


def test_checkpointing_without_a_part_that_has_it_is_refused(tmp_path):
    settings = load_settings("compact", None, ["training.gradient_checkpointing=true"])
    with pytest.raises(SyndiffError, match="gradient_checkpointing: true has no effect"):
        task_of(settings)


def test_a_checkpoint_of_another_preset_is_refused(preset, tmp_path):
    tiny_train(tmp_path, stop_after=1)
    with pytest.raises(SyndiffError, match="cannot be continued: model"):
        train(tmp_path, preset())


def test_bf16_is_refused_on_a_gpu_without_it_and_explained_on_a_cpu(monkeypatch):
    monkeypatch.setattr(loop, "has_fast_bf16", lambda: False)
    assert "emulates" in loop.check_precision("bf16")
    assert loop.check_precision("auto") == loop.check_precision("fp32") == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GTX 1080")
    with pytest.raises(SyndiffError, match=r"GTX 1080 has no bf16.*fp32"):
        loop.check_precision("bf16")
    monkeypatch.setattr(loop, "has_fast_bf16", lambda: True)
    assert loop.check_precision("bf16") == ""


def test_the_presets_revision_belongs_to_the_presets_autoencoder(autoencoder):
    assert len(load_settings("paper").model.autoencoder_revision) == 40
    assert load_settings("paper", None, [f"model.autoencoder={autoencoder}"]).model.autoencoder_revision == ""
    chosen = ["model.autoencoder=a/b", "model.autoencoder_revision=abc"]
    assert load_settings("paper", None, chosen).model.autoencoder_revision == "abc"
