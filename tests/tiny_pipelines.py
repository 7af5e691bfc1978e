"""Whole inpainting pipelines of tiny random weights, written in diffusers' layout and loaded like real ones."""

from pathlib import Path
from typing import Any

import torch

from syndiff.models.autoencoder import KL_F8


def save_narrow_kl(folder: Path) -> Path:
    """Write KL-f8, the paper's autoencoder, eight channels wide; its encoder can be copied."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    narrow = {"block_out_channels": (8,) * 4, "norm_num_groups": 4, "layers_per_block": 1}
    AutoencoderKL(**{**KL_F8, **narrow}).save_pretrained(folder)
    return folder


def save_tiny_pipeline(folder: Path, in_channels: int = 9, *, sdxl: bool = True, width: int = 16) -> Path:
    """Write an SDXL or an SD 1.5 pipeline; `in_channels` 9 is an inpainting U-Net, 4 a plain one.

    `width` is that of the text encoders; networks of two widths cannot share a LoRA.
    """
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(0)
    of_sdxl: dict[str, Any] = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + width,
        "use_linear_projection": True,
    }
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        in_channels=in_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        cross_attention_dim=2 * width if sdxl else width,
        norm_num_groups=4,
        **(of_sdxl if sdxl else {}),
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=64,
    )
    text = CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        hidden_size=width,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=64,
        projection_dim=width,
        max_position_embeddings=256,  # the tiny vocabulary spells words out
    )
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "po", "ly"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[("p", "o"), ("l", "y")], model_max_length=256)
    parts = {"vae": vae, "unet": unet, "tokenizer": tokenizer, "text_encoder": CLIPTextModel(text)}
    if sdxl:
        pipeline = diffusers.StableDiffusionXLInpaintPipeline(
            **parts,
            text_encoder_2=CLIPTextModelWithProjection(text),
            tokenizer_2=tokenizer,
            scheduler=diffusers.EulerDiscreteScheduler(
                beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
            ),
            add_watermarker=False,
        )
    else:
        pipeline = diffusers.StableDiffusionInpaintPipeline(
            **parts,
            scheduler=diffusers.PNDMScheduler(
                beta_schedule="scaled_linear",
                beta_start=0.00085,
                beta_end=0.012,
                skip_prk_steps=True,
                steps_offset=1,
                set_alpha_to_one=False,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
