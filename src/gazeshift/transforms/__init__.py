"""One file, one change to images or perturbations."""
