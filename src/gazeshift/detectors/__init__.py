"""Ways to suspect an image: one file, one detector."""
