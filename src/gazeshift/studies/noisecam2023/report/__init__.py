"""The page of noisecam2023, made from its tables alone."""
