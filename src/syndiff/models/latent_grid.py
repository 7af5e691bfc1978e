"""The grid on which autoencoders describe a picture."""

DOWNSAMPLING = 8
"""Pixels along the side of the square that one latent pixel stands for; every autoencoder here has it."""
