"""Options of a command that trains: the smallest model and steps at which everything still happens."""

TINY = [
    "--set",
    "model.image_size=32",
    "model.inference_tta=1",
    "model.denoiser_channels=16",
    "model.condition_channels=16",
    "training.coarse_share=0",
    "training.steps=2",
    "training.batch_size=2",
]
