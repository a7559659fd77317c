"""The page of transfer, made from its tables alone."""
