"""A trained segmenter put to use: prediction on folders, and what a machine can run."""
