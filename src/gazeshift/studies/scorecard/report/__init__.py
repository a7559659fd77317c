"""The page of scorecard, made from its tables alone."""
