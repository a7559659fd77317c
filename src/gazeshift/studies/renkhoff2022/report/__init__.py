"""The page of renkhoff2022, made from its tables alone."""
