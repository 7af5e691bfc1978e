"""A trained segmenter put to use."""
