"""One file, one change to pixels, filters or training."""
