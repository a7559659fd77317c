"""The page of deviation, made from its tables alone."""
