"""Where a new lesion lies: the frame, the lesion that is lent, and the place."""
