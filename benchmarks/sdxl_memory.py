"""What SDXL's U-Net needs, counted without a GPU: parameters, work, and activations kept for training.

Run by hand: `python benchmarks/sdxl_memory.py > results/paper-and-sdxl/sdxl_parameters_and_memory.json` (seconds;
nothing is computed, the tensors have shapes only). The attention's matrices, which PyTorch keeps on the CPU but
not on GPUs, grow with the square of the pixels; they are told apart by counting at three sizes.
"""

import json

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from torch.utils.flop_counter import FlopCounterMode

GIB = 2**30
RANK = 16


def sdxl_unet() -> UNet2DConditionModel:
    """The inpainting U-Net with LoRA on its attention, bf16, shapes only."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128,
            in_channels=9,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
    return unet.to(torch.bfloat16).requires_grad_(False)


def inputs(resolution: int) -> dict[str, object]:
    """One sample."""
    side = resolution // 8
    meta = {"device": "meta", "dtype": torch.bfloat16}
    return {
        "sample": torch.empty(1, 9, side, side, **meta),
        "timestep": torch.empty(1, device="meta"),
        "encoder_hidden_states": torch.empty(1, 77, 2048, **meta),
        "added_cond_kwargs": {"text_embeds": torch.empty(1, 1280, **meta), "time_ids": torch.empty(1, 6, **meta)},
    }


def kept(unet: UNet2DConditionModel, resolution: int) -> float:
    """GiB that autograd keeps of one sample between forward and backward pass."""
    weights = {parameter.untyped_storage()._cdata for parameter in unet.parameters()}
    found: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if (key := tensor.untyped_storage()._cdata) not in weights:
            found[key] = tensor  # held, so that its address is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        unet(**inputs(resolution))
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values()) / GIB


def main() -> None:
    """Count and print."""
    unet = sdxl_unet()
    result: dict[str, object] = {"unet_parameters": sum(p.numel() for p in unet.parameters())}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(**inputs(1024))
    result["forward_tflop_1024"] = round(counter.get_total_flops() / 1e12, 2)
    unet.add_adapter(LoraConfig(r=RANK, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    result[f"lora_parameters_rank_{RANK}"] = sum(p.numel() for p in unet.parameters() if p.requires_grad)
    unet.train()
    sizes = (512, 768, 1024)
    everything = [kept(unet, size) for size in sizes]
    pixels = np.array(sizes) ** 2 / 1024**2
    (linear, _), *_ = np.linalg.lstsq(np.stack([pixels, pixels**2], axis=1), np.array(everything), rcond=None)
    result["gib_kept_with_attention_matrices"] = dict(zip(map(str, sizes), np.round(everything, 2), strict=True))
    result["gib_kept_without"] = {
        str(size): round(linear * share, 2) for size, share in zip(sizes, pixels, strict=True)
    }
    unet.enable_gradient_checkpointing()
    result["gib_kept_gradient_checkpointing"] = {str(size): round(kept(unet, size), 2) for size in sizes}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
