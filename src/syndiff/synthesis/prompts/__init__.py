"""Prompts: packs of words, captions that are measured."""
