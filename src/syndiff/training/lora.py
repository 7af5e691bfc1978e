"""LoRA fine-tuning of a Stable Diffusion inpainting pipeline: `adapt` for the inpainter "sdxl"."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from syndiff import __version__
from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.files import sha256, write_bytes, write_json
from syndiff.models.hardware import has_fast_bf16
from syndiff.models.lora import ABOUT, LORA_FILE, noted_hash
from syndiff.models.pipeline_folder import DEFAULT_MODEL, PipelineFolder, find_pipeline, first_line
from syndiff.models.stored import WEIGHTS
from syndiff.models.tensors import read_tensors
from syndiff.training.batches import moved, split_batch
from syndiff.training.checkpoints import find_checkpoint, go_on_from
from syndiff.training.loop import Validation, autocast, check_machine, fit
from syndiff.training.lora_batch import LoraBatch, LoraCases
from syndiff.training.lora_objective import LoraObjective, embed_captions
from syndiff.training.lora_pictures import sample_probe
from syndiff.training.run_folder import check_run, environment, open_run, this_process
from syndiff.training.settings import LoraSettings

log = logging.getLogger("syndiff")


class LoraTask:
    """`Task` of the factors that are added to a pipeline's U-Net; all else of the pipeline is frozen.

    Validated by its loss on the fixed crops of `probes`, which it paints as well. `about` is the JSON that says what
    is learned from. Raises SyndiffError for a caption longer than the text encoder reads, and for targets that the
    U-Net does not have.
    """

    score_name, score_sign, begins_trained = "val_loss", -1, True

    def __init__(
        self,
        folder: PipelineFolder,
        settings: LoraSettings,
        *,
        cases: LoraCases,
        probes: LoraCases,
        about: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.settings, self.seed, self.cases, self.about = settings, seed, cases, dict(about)
        self.device = this_process().device
        self.pipeline, self.objective = _prepare(folder, [cases, probes], settings, seed, self.device)
        self.model: nn.Module = self.pipeline.unet
        self._probe = probes.probe(seed, self.objective.timesteps)

    def state(self) -> dict[str, Tensor]:
        """The factors, under peft's names."""
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group: the factors are all new."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad], "lr_scale": 1.0}]

    def batch(self, step: int, *, process: int, processes: int) -> LoraBatch:
        """Crops of the step, each with its own noise and timestep."""
        return self.cases.batch(self.seed, step, self.objective.timesteps, process=process, processes=processes)

    def validate(self) -> Validation:
        """Mean loss on the fixed crops, and a picture of them."""
        probe = moved(self._probe, self.device)
        crops = split_batch(probe, len(probe.captions))  # one by one: a small GPU must be able to
        picture = None
        with autocast(self.settings.precision, self.device), torch.no_grad():
            loss = sum(self.objective.errors(crop).item() for crop in crops) / len(crops)
            if self.settings.picture_steps:
                picture = sample_probe(self.pipeline, self.objective.embeddings, crops, self.settings)
        return Validation(loss, picture)

    def describe(self, *, step: int, score: float | None) -> dict[str, Any]:
        """The JSON beside the factors."""
        settings = self.settings
        return {
            "format": 1,
            "syndiff": __version__,
            "model": {"rank": settings.rank, "alpha": settings.alpha, "targets": list(settings.targets)},
            "learned_from": self.about,
            "step": step,
            "val_loss": score,
            "parameters": sum(value.numel() for value in self.state().values()),
        }


def adapt_lora(
    out: Path,
    *,
    dataset: Dataset,
    case_ids: Sequence[str],
    captions: Mapping[str, str],
    model: str = DEFAULT_MODEL,
    revision: str | None = None,
    variant: str | None = None,
    probe_ids: Sequence[str] = (),
    settings: LoraSettings | None = None,
    seed: int = 0,
    stop_after: int | None = None,
    progress: bool = True,
) -> Path:
    """Teach the pipeline `model` the cases `case_ids`, the training split; returns the LoRA file in `out`.

    `captions` maps a case id to its caption. `probe_ids` are the cases of the validation's loss and pictures
    (validation split; the training cases where none are given). `out` holds pytorch_lora_weights.safetensors, which
    `load_lora_weights` of any diffusers program reads, lora.json, which says what made it, metrics.jsonl and
    pictures/. Called again with the same arguments it goes on from the last checkpoint and ends with the same bytes;
    other arguments are refused. `stop_after` leaves early, at a checkpoint after that step, as a kill would.

    The LoRA is the one of the last step: the loss on a few fixed crops is too rough to choose a step by.

    Raises SyndiffError for a pipeline that cannot be used (see `find_pipeline`), a case without caption, a caption
    longer than the text encoder reads, targets that the U-Net does not have, and a loss that is not finite.
    """
    # 1. What is taught, to what, and is this the run that lies here?
    settings = settings or LoraSettings()
    check_machine(settings)
    folder = find_pipeline(model, revision, variant)
    cases = LoraCases(dataset, case_ids, captions, settings)
    probes = LoraCases(dataset, probe_ids, captions, settings) if probe_ids else cases
    base = {"commit": folder.commit, "hash": None if folder.commit else folder.hash, "variant": variant}
    made = {"seed": seed, "base": base, "data": cases.fingerprint(), "probes": probes.fingerprint()}
    config = {"lora": {**asdict(settings), "targets": list(settings.targets)}, **made}
    check_run(out, config, for_people=())  # `data` is the hash of what is learned from
    main, result = this_process().is_main_process, out / LORA_FILE
    checkpoint = go_on_from(out, tidies=main)
    if checkpoint is not None and int(checkpoint.name) == settings.steps and _is_whole(result):
        return result

    # 2. The training.
    task = LoraTask(folder, settings, cases=cases, probes=probes, about=made, seed=seed)
    open_run(out, config, for_people=())
    fit(out, task, settings, seed=seed, stop_after=stop_after, progress=progress)

    # 3. The LoRA of its last step, for every program.
    last = find_checkpoint(out, "last")
    if main and last is not None and int(last.name) == settings.steps:
        task.model.load_state_dict(read_tensors(last / WEIGHTS), strict=False)
        _export(task.pipeline, settings, result)
        about = {"model": str(folder.path) if folder.commit is None else model, **made, "settings": asdict(settings)}
        libraries = environment()["libraries"]
        write_json(out / ABOUT, {**about, "step": settings.steps, "file": sha256(result), "libraries": libraries})
    this_process().wait_for_everyone()
    return result


def lora_tensors(unet: Any, settings: LoraSettings) -> dict[str, Tensor]:
    """The factors (lora_A, lora_B) of each layer, alpha / rank multiplied into the second of each pair.

    A file without further notes is read as alpha = rank by every program. The names stay peft's: diffusers' own
    conversion to its older names renames the attention alone, and its loader then drops one half of the mixture.
    """
    from peft.utils import get_peft_model_state_dict

    scale = settings.alpha / settings.rank
    return {
        name: (value * scale if name.endswith("lora_B.weight") else value).detach().cpu().clone()
        for name, value in get_peft_model_state_dict(unet).items()
    }


def _prepare(
    folder: PipelineFolder, sources: Sequence[LoraCases], settings: LoraSettings, seed: int, device: torch.device
) -> tuple[Any, LoraObjective]:
    """The pipeline on `device`, its text encoders replaced by what they made of the captions, and the objective."""
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    bf16 = has_fast_bf16() if settings.precision == "auto" else settings.precision == "bf16"
    pipeline = folder.load(torch.bfloat16 if bf16 else torch.float32)
    for name in folder.parts:
        if isinstance(part := getattr(pipeline, name), torch.nn.Module):
            part.requires_grad_(False)
    captions = {source.captions[case.id] for source in sources for case in source.cases}
    for name in ("text_encoder", "text_encoder_2"):
        if encoder := getattr(pipeline, name, None):
            encoder.to(device)
    embeddings = embed_captions(pipeline, captions | {settings.background_caption})
    pipeline.text_encoder = None
    if folder.is_sdxl:
        pipeline.text_encoder_2 = None
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        init_lora_weights="gaussian",
        target_modules=list(settings.targets),
    )
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            pipeline.unet.add_adapter(config)
    except ValueError as error:
        raise SyndiffError(
            f"lora setting targets: {', '.join(settings.targets)} are no layers of the U-Net in {folder.path} "
            f"({first_line(error)})."
        ) from None
    cast_training_params(pipeline.unet, torch.float32)
    if settings.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    pipeline.to(device)
    return pipeline, LoraObjective(pipeline, embeddings, settings)


def _export(pipeline: Any, settings: LoraSettings, path: Path) -> None:
    """Let diffusers write the LoRA, and give it its name when it is whole."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save_lora_weights(folder, unet_lora_layers=lora_tensors(pipeline.unet, settings))
        write_bytes(path, (Path(folder) / LORA_FILE).read_bytes())


def _is_whole(result: Path) -> bool:
    """Whether the LoRA lies there as it was noted; else it is written again from the checkpoint."""
    noted = noted_hash(result)
    if noted is None or not result.is_file():
        return False
    if sha256(result) != noted:
        log.warning(f"{result} is damaged: its SHA-256 is not the one that {ABOUT} notes; it is written again.")
        return False
    return True
