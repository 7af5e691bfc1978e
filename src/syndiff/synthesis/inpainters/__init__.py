"""Inpainters: one contract, several painters."""
