"""LoRA training on whole tiny pipelines: it learns, diffusers can use the result, a kill changes nothing."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_lora import SETTINGS, tiny_adapt

from syndiff.data.dataset import Dataset
from syndiff.documents import read_json, read_objects
from syndiff.errors import SyndiffError
from syndiff.files import sha256
from syndiff.models.pipeline_folder import find_pipeline
from syndiff.phantom import write_phantom
from syndiff.training.lora import lora_tensors
from syndiff.training.lora_batch import LoraCases, one_lesion
from syndiff.training.lora_objective import LoraObjective, embed_captions
from syndiff.training.run_folder import claimed_run
from syndiff.training.settings import LoraSettings
from tiny_pipelines import save_tiny_pipeline

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("peft")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lora") / "data"
    write_phantom(root, groups=2, frames=2, height=64, width=80, seed=0)
    return root


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("lora") / "sdxl")


@pytest.fixture(scope="session")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain U-Net of four channels with one text encoder."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("lora") / "sd", 4, sdxl=False)


@pytest.fixture(scope="session")
def finished(data: Path, sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lora") / "finished"
    tiny_adapt(out, data, sdxl)
    return out


def journal(out: Path) -> list[dict]:
    lines = list(read_objects(out / "metrics.jsonl", {}))
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def what_counts(out: Path) -> dict[str, object]:
    """Everything that must not depend on how often it was interrupted."""
    return {
        "lora": (out / "pytorch_lora_weights.safetensors").read_bytes(),
        "description": (out / "lora.json").read_bytes(),
        "state": (out / "checkpoints/000006/training_state/state.safetensors").read_bytes(),
        "checkpoints": sorted(path.name for path in (out / "checkpoints").iterdir()),
        "metrics": journal(out),
        "pictures": {path.name: path.read_bytes() for path in sorted((out / "pictures").iterdir())},
    }


@pytest.mark.parametrize("family", ["sdxl", "sd"])
def test_it_learns_and_diffusers_loads_what_it_learnt(
    family: str, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(family)
    settings = replace(
        SETTINGS,
        steps=50,
        batch_size=4,
        pictures=4,
        lr_schedule="cosine",
        rank=8,
        alpha=16,
        targets=("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_out"),
        picture_steps=0,
        validate_every=50,
        checkpoint_every=50,
    )
    file = tiny_adapt(tmp_path / "out", data, model, settings=settings)
    probes = [line["val_loss"] for line in journal(tmp_path / "out") if "val_loss" in line]
    assert len(probes) == 2 and probes[1] < 0.9 * probes[0]

    # diffusers alone: the saved factors give the network that was trained
    dataset = Dataset.open(data)
    ids = [case.id for case in dataset.cases]
    cases = LoraCases(dataset, ids, dict.fromkeys(ids, "a red polyp"), settings)
    pipeline = find_pipeline(str(model)).load(torch.float32)
    objective = LoraObjective(pipeline, embed_captions(pipeline, ["a red polyp"]), settings)
    losses = []
    for load in (False, True):
        if load:
            pipeline.load_lora_weights(str(file.parent))
        with torch.no_grad():
            losses.append(objective(cases.probe(0, 1000))["latent"].item())
    assert losses == pytest.approx(probes, rel=1e-4)


def test_a_lesion_that_a_corner_joins_is_learned_whole() -> None:
    lesion = np.zeros((40, 60), bool)
    lesion[10:20, 10:20] = lesion[20:25, 20:30] = True
    mask = lesion.copy()
    mask[30:40, 45:50] = True
    drawn = [one_lesion(mask, np.random.default_rng(seed)) for seed in range(20)]
    assert {int(part.sum()) for part in drawn} == {150, 50}
    assert all(np.array_equal(part, lesion) for part in drawn if part.sum() == 150)


def test_the_file_says_what_made_it(finished: Path, sdxl: Path, data: Path) -> None:
    about = read_json(finished / "lora.json")
    assert about["model"] == str(sdxl) and about["base"]["hash"] == find_pipeline(str(sdxl)).hash
    assert about["file"] == sha256(finished / "pytorch_lora_weights.safetensors")
    assert about["step"] == SETTINGS.steps and about["settings"]["rank"] == SETTINGS.rank and about["seed"] == 0
    assert set(about["libraries"]) >= {"peft", "diffusers", "transformers", "torch"}
    names = load_file(finished / "pytorch_lora_weights.safetensors").keys()
    assert all(name.startswith("unet.") and "lora" in name for name in names)
    picture = np.asarray(Image.open(finished / "pictures" / "000006.png"))
    assert picture.shape == (2 * 32, 3 * 32, 3) and picture.std() > 0
    assert [path.name for path in sorted((finished / "pictures").iterdir())] == [
        "000000.png",
        "000003.png",
        "000006.png",
    ]


def test_stopped_and_started_again_it_ends_with_the_same_bytes(
    finished: Path, data: Path, sdxl: Path, tmp_path: Path
) -> None:
    for stop in (1, 3, None):
        torch.manual_seed(stop or 0)  # what the process did before does not matter
        tiny_adapt(tmp_path / "out", data, sdxl, stop_after=stop)
    found, expected = what_counts(tmp_path / "out"), what_counts(finished)
    assert [name for name in expected if found[name] != expected[name]] == []
    before = what_counts(finished)
    tiny_adapt(finished, data, sdxl)  # a finished run is left as it is
    assert what_counts(finished) == before


def claim_and_adapt(out: Path, data: Path, model: Path) -> None:
    with claimed_run(out, "adapt"):  # sweeps what a killed write left, as the verb does
        tiny_adapt(out, data, model)


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bytes(
    forked: ModuleType, finished: Path, data: Path, sdxl: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for moment in ("last", "000004"):
        forked.kill_at((out / "checkpoints" / moment).exists, claim_and_adapt, out, data, sdxl)
    claim_and_adapt(out, data, sdxl)
    found, expected = what_counts(out), what_counts(finished)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_other_arguments_are_refused_with_both_values(finished: Path, data: Path, sdxl: Path) -> None:
    with pytest.raises(SyndiffError, match=r"lora\.rank: 4 there, 8 here"):
        tiny_adapt(finished, data, sdxl, settings=replace(SETTINGS, rank=8))
    with pytest.raises(SyndiffError, match="data: "):
        case = Dataset.open(data).cases[0].id
        tiny_adapt(finished, data, sdxl, case_ids=[case], captions={case: "a polyp"})


def test_parts_of_a_batch_give_the_gradient_of_the_whole(
    finished: Path, data: Path, sdxl: Path, tmp_path: Path
) -> None:
    parted = replace(SETTINGS, accumulation=2, gradient_checkpointing=True)
    file = tiny_adapt(tmp_path / "out", data, sdxl, settings=parted)
    whole = load_file(finished / file.name)
    assert all(torch.allclose(value, whole[name], atol=2e-3) for name, value in load_file(file).items())


def test_the_file_holds_the_moving_average_where_one_is_kept(data: Path, sdxl: Path, tmp_path: Path) -> None:
    averaged = replace(SETTINGS, ema_decay=0.5, alpha=SETTINGS.rank, picture_steps=0)
    file = load_file(tiny_adapt(tmp_path / "out", data, sdxl, settings=averaged))
    state = load_file(tmp_path / "out/checkpoints/000006/training_state/state.safetensors")
    factors = [name.removeprefix("ema.") for name in state if name.startswith("ema.")]
    assert len(factors) == len(file)
    for name in factors:
        average, live = state[f"ema.{name}"], state[f"live.{name}"]
        assert torch.equal(file[f"unet.{name.replace('.default', '')}"], average) and not torch.equal(average, live)


def test_alpha_is_in_the_weights(sdxl: Path) -> None:
    """A program that knows nothing of alpha takes the same network from the file."""
    from diffusers import StableDiffusionXLInpaintPipeline
    from peft import LoraConfig

    trained, fresh = (find_pipeline(str(sdxl)).load(torch.float32) for _ in range(2))
    trained.unet.add_adapter(LoraConfig(r=4, lora_alpha=12, target_modules=["to_q", "to_v"], init_lora_weights=False))
    tensors = lora_tensors(trained.unet, LoraSettings(rank=4, alpha=12))
    state = StableDiffusionXLInpaintPipeline.pack_weights(tensors, "unet")
    fresh.load_lora_weights(state)
    given = torch.randn(1, 9, 8, 8), torch.tensor([5]), torch.randn(1, 7, 32)
    texts = {"text_embeds": torch.randn(1, 16), "time_ids": torch.ones(1, 6)}
    with torch.no_grad():
        found, expected = (x.unet(*given, added_cond_kwargs=texts).sample for x in (fresh, trained))
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_loss_is_the_one_of_the_papers(sdxl: Path, data: Path, prediction: str) -> None:
    """Recomputed with the definitions: error of noise or of v, weighted by the mask and by min-SNR."""
    pipeline = find_pipeline(str(sdxl)).load(torch.float32)
    pipeline.scheduler.register_to_config(prediction_type=prediction)
    settings = replace(SETTINGS, outside_weight=0.25, min_snr=5.0, random_masks=0.0)
    dataset = Dataset.open(data)
    ids = [case.id for case in dataset.cases]
    batch = LoraCases(dataset, ids, dict.fromkeys(ids, "a polyp"), settings).batch(0, 0, 1000)
    objective = LoraObjective(pipeline, embed_captions(pipeline, ["a polyp"]), settings)
    asked: list[torch.Tensor] = []
    pipeline.unet.register_forward_hook(lambda unet, given, answer: asked.extend((given[0], answer.sample)))
    with torch.no_grad():
        loss = objective.errors(batch)
        latent, masked = objective._latents(batch)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    abar = torch.cumprod(1 - betas, 0)[batch.timestep].view(-1, 1, 1, 1)
    noise, small = batch.noise[:, 0], batch.mask[:, :, ::8, ::8]
    noisy = abar.sqrt() * latent + (1 - abar).sqrt() * noise
    assert torch.allclose(asked[0], torch.cat([noisy, small, masked], dim=1), atol=1e-4)
    target = noise if prediction == "epsilon" else abar.sqrt() * noise - (1 - abar).sqrt() * latent
    weight = torch.where(small > 0, 1.0, 0.25)
    error = (weight * (asked[1] - target) ** 2).sum((1, 2, 3)) / (4 * weight.sum((1, 2, 3)))
    snr = (abar / (1 - abar)).flatten()
    factor = snr.clamp(max=5) / (snr if prediction == "epsilon" else snr + 1)
    assert torch.allclose(loss, factor * error, rtol=1e-4)


def test_captions_are_dropped_as_often_as_asked(data: Path) -> None:
    dataset = Dataset.open(data)
    ids = [case.id for case in dataset.cases]

    def share(dropout: float) -> float:
        settings = replace(SETTINGS, batch_size=20, caption_dropout=dropout, random_masks=0.0)
        cases = LoraCases(dataset, ids, dict.fromkeys(ids, "a polyp"), settings)
        captions = [caption for step in range(8) for caption in cases.batch(0, step, 1000).captions]
        assert set(captions) <= {"", "a polyp"}
        return captions.count("") / len(captions)

    assert share(0.0) == 0 and share(1.0) == 1 and 0.2 < share(0.3) < 0.4
    settings = replace(SETTINGS, caption_dropout=1.0, random_masks=0.9)
    probe = LoraCases(dataset, ids, dict.fromkeys(ids, "a polyp"), settings).probe(0, 1000)
    assert set(probe.captions) == {"a polyp"}  # validations always show lesions with their words


def test_plain_tissue_is_taught_with_its_own_caption(data: Path) -> None:
    dataset = Dataset.open(data)
    ids = [case.id for case in dataset.cases]
    settings = replace(SETTINGS, batch_size=20, caption_dropout=0.0, random_masks=0.5, background_caption="mucosa")
    captions = LoraCases(dataset, ids, dict.fromkeys(ids, "a polyp"), settings).batch(0, 0, 1000).captions
    assert set(captions) == {"a polyp", "mucosa"}


def test_a_sample_depends_on_its_place_in_the_batch_alone(data: Path) -> None:
    """However many processes share the batch."""
    dataset = Dataset.open(data)
    ids = [case.id for case in dataset.cases]
    cases = LoraCases(dataset, ids, dict.fromkeys(ids, "a polyp"), replace(SETTINGS, batch_size=4))
    whole = cases.batch(3, 7, 1000)
    for process in (0, 1):
        part = cases.batch(3, 7, 1000, process=process, processes=2)
        assert torch.equal(part.image, whole.image[process::2]) and torch.equal(part.noise, whole.noise[process::2])
        assert part.captions == whole.captions[process::2]
    assert set(whole.mask.unique().tolist()) == {0.0, 1.0} and (whole.mask.sum((1, 2, 3)) > 0).all()


def test_what_cannot_be_taught(data: Path, sdxl: Path, tmp_path: Path) -> None:
    ids = [case.id for case in Dataset.open(data).cases]
    empty = tmp_path / "empty"
    write_phantom(empty, groups=1, frames=1, height=64, width=80, seed=0)
    for mask in (empty / "masks").iterdir():
        Image.new("L", (80, 64)).save(mask)
    for number, (changes, message) in enumerate(
        (
            ({"captions": {ids[0]: "a polyp"}}, r"3 of 4 cases have no caption \(first .*captions\.csv"),
            ({"captions": dict.fromkeys(ids, "polyp " * 300)}, "would not see"),
            ({"settings": replace(SETTINGS, targets=("to_x",))}, "targets: to_x are no layers of the U-Net"),
            ({"dataset": Dataset.open(empty), "case_ids": ["sequence-001-frame-001"]}, "has a lesion"),
        )
    ):
        if "dataset" in changes:
            changes["captions"] = {"sequence-001-frame-001": "a polyp"}
        with pytest.raises(SyndiffError, match=message):
            tiny_adapt(tmp_path / str(number), data, sdxl, **changes)
        assert not (tmp_path / str(number)).exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "lora.steps is 0, expected 1 to "),
        ({"resolution": 100}, "resolution is 100, expected 8 to 8192, a multiple of 8"),
        ({"batch_size": 3, "accumulation": 2}, "accumulation is 2, expected a divisor of batch_size"),
        ({"min_context": 3, "max_context": 2}, "min_context is 3, expected no more than max_context, which is 2"),
        ({"targets": ()}, "targets"),
        ({"random_masks": 0, "background_caption": "mucosa"}, "no effect with random_masks 0"),
    ],
)
def test_impossible_settings(settings: dict, message: str) -> None:
    with pytest.raises(SyndiffError, match=message):
        LoraSettings(**settings)
