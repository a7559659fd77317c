"""Measures. One file is one number per image, from two maps, two images, or one attack at several strengths."""
