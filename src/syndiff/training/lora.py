"""LoRA fine-tuning of a Stable Diffusion inpainting pipeline: `adapt` for the inpainter "sdxl"."""

import logging
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from syndiff.data.dataset import DatasetFolder
from syndiff.errors import SyndiffError
from syndiff.files import sha256, write_bytes, write_json
from syndiff.models.hardware import has_fast_bf16
from syndiff.models.lora import ABOUT, LORA_FILE, noted_hash
from syndiff.models.pipeline_folder import DEFAULT_MODEL, PipelineFolder, find_pipeline, first_line
from syndiff.models.tensors import check_fit
from syndiff.training.checkpoints import (
    go_on_from,
    load_state,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)
from syndiff.training.loop import Journal, autocast
from syndiff.training.lora_batch import LoraCases
from syndiff.training.lora_objective import LoraObjective, embed_captions
from syndiff.training.lora_pictures import paint_probe
from syndiff.training.lora_settings import LoraSettings
from syndiff.training.run_folder import check_run, environment, open_run, this_process

log = logging.getLogger("syndiff")


def adapt_lora(
    out: Path,
    *,
    dataset: DatasetFolder,
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

    Raises SyndiffError for a pipeline that cannot be used (see `find_pipeline`), a case without caption, a caption
    longer than the text encoder reads, targets that the U-Net does not have, and a loss that is not finite.
    """
    # 1. What is taught, to what, and is this the run that lies here?
    settings = settings or LoraSettings()
    folder = find_pipeline(model, revision, variant)
    cases = LoraCases(dataset, case_ids, captions, settings)
    probes = LoraCases(dataset, probe_ids, captions, settings) if probe_ids else cases
    base = {"commit": folder.commit, "hash": None if folder.commit else folder.hash, "variant": variant}
    made = {"seed": seed, "base": base, "data": cases.fingerprint(), "probes": probes.fingerprint()}
    accelerator = this_process()
    share = accelerator.num_processes * settings.accumulation
    if settings.batch_size % share:
        raise SyndiffError(
            f"lora setting batch_size: {settings.batch_size} cannot be divided among {accelerator.num_processes} "
            f"processes x {settings.accumulation} parts; make it a multiple of {share}."
        )
    config = {"lora": {**asdict(settings), "targets": list(settings.targets)}, **made}
    check_run(out, config, for_people=())  # `data` is the hash of what is learned from
    checkpoint = go_on_from(out, tidies=accelerator.is_main_process)
    result = out / LORA_FILE
    if checkpoint is not None and int(checkpoint.name) == settings.steps and _is_whole(result):
        return result

    # 2. The networks: everything is frozen but the factors that are added to the U-Net.
    pipeline, objective = _prepare(folder, [cases, probes], settings, seed, accelerator.device)
    open_run(out, config, for_people=())
    trained = {name: p for name, p in pipeline.unet.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    timesteps = objective.timesteps
    objective, optimizer = accelerator.prepare(objective, optimizer)

    # 3. Where an earlier run left off.
    step, seconds = 0, 0.0
    if checkpoint is not None:
        tensors, stored = load_state(checkpoint)
        live = {name.removeprefix("live."): value for name, value in tensors.items() if name.startswith("live.")}
        check_fit(checkpoint / "training_state", live, trained)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(live[name])
        unpack_optimizer(optimizer, tensors, checkpoint)
        step, seconds = stored["step"], stored["seconds"]
    journal = Journal(out / "metrics.jsonl", step if checkpoint else -1, writes=accelerator.is_main_process)
    about = {"model": str(folder.path) if folder.commit is None else model, **made, "settings": asdict(settings)}

    def validate() -> None:
        if accelerator.is_main_process:
            alone = accelerator.unwrap_model(objective)
            batch = probes.probe(seed, timesteps).to(accelerator.device)
            crops = batch.parts(len(batch.captions))  # one by one: a small card must be able to
            with autocast(settings.precision, accelerator.device), torch.no_grad():
                loss = sum(alone(crop).item() for crop in crops) / len(crops)
                if settings.picture_steps:
                    picture = paint_probe(pipeline, alone.embeddings, crops, settings)
                    write_bytes(out / "pictures" / f"{step:06d}.png", picture)
            if not math.isfinite(loss):
                raise SyndiffError(
                    f"{out}: the validation of step {step} gives a loss of {loss}. Lower learning_rate (now "
                    f"{settings.learning_rate}) or set precision to fp32; the checkpoints before this step are kept."
                )
            journal.write(step=step, probe_loss=loss)

    # 4. The steps.
    bar = tqdm(
        total=settings.steps,
        initial=step,
        unit="step",
        desc=out.name,
        disable=not (progress and accelerator.is_main_process),
    )
    if checkpoint is None:
        validate()
    last = min(settings.steps, stop_after or settings.steps)
    while step < last:
        started = time.perf_counter()
        batch = cases.batch(
            seed, step, timesteps, process=accelerator.process_index, processes=accelerator.num_processes
        )
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate_factor(step, settings)
        pipeline.unet.train()  # gradient checkpointing looks at it; there is no dropout
        optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in batch.to(accelerator.device).parts(settings.accumulation):
            with autocast(settings.precision, accelerator.device):
                loss = objective(part).mean() / settings.accumulation
            accelerator.backward(loss)
            losses.append(loss.detach())
        norm = accelerator.clip_grad_norm_(trained.values(), settings.clip)
        step += 1
        total = torch.stack(losses).sum()
        if not torch.isfinite(total + norm):
            raise SyndiffError(
                f"{out}: the loss of step {step} or its gradient is not finite (loss {total.item():.4g}, gradient "
                f"{norm.item():.4g}). Lower learning_rate (now {settings.learning_rate}) or set precision to fp32; the "
                "checkpoints before this step are kept."
            )
        optimizer.step()
        seconds += time.perf_counter() - started
        bar.update()
        if step % 10 == 0 or step == settings.steps:
            bar.set_postfix(loss=f"{total.item():.4f}", refresh=False)
            journal.write(step=step, loss=total.item(), seconds=round(seconds, 2))
        if step % settings.validate_every == 0 or step == settings.steps:
            validate()
        if accelerator.is_main_process and (step % settings.checkpoint_every == 0 or step == last):
            save_checkpoint(
                out,
                step,
                weights=lora_tensors(pipeline.unet, settings),
                description={**about, "step": step},
                state={**{f"live.{name}": value for name, value in trained.items()}, **pack_optimizer(optimizer)},
                progress={"step": step, "seconds": seconds},
                best=False,
            )
    bar.close()
    if accelerator.is_main_process and step == settings.steps:
        _export(pipeline, settings, result)
        libraries = environment()["libraries"]
        write_json(out / ABOUT, {**about, "step": step, "file": sha256(result), "libraries": libraries})
    accelerator.wait_for_everyone()
    return result


def rate_factor(step: int, settings: LoraSettings) -> float:
    """Linear warm-up, then 1 or a cosine to zero; `step` counts from 0."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - settings.warmup) / max(1, settings.steps - settings.warmup)))


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
