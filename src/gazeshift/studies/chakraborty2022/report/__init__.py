"""The page of chakraborty2022, made from its tables alone."""
