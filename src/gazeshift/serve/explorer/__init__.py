"""The page over a running gateway: what the model sees in an image, and in an attacked version of it."""
