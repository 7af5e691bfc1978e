"""Options of a command that trains: the smallest model and steps at which everything still happens."""

ENCODER = "timm:test_efficientnet"
"""A network of timm's own tests, much smaller and quicker than Lite0."""

SMALL = ("model.image_size=32", f"model.encoder={ENCODER}", "model.pretrained=false", "training.coarse_share=0")
"""Settings of a segmenter or control."""

TINY = [
    *("--set", *SMALL, "model.inference_tta=1", "model.denoiser_channels=16", "model.condition_channels=16"),
    *("training.steps=2", "training.batch_size=2"),
]
