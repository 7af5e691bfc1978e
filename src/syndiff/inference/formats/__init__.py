"""What `predict` reads, and what it writes for each: a format is a source of frames and a writer of answers."""
