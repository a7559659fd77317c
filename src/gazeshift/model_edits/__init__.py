"""One file, one change to a network, undone at the end of the block."""
