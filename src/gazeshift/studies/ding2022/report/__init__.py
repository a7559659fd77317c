"""The page of ding2022, made from its tables alone."""
