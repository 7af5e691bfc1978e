"""Inpainters: one contract, several ways."""
