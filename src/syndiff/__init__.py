"""SynDiff: text-guided synthesis of annotated medical images and one-step latent-diffusion segmentation."""

__version__ = "0.1.0"
