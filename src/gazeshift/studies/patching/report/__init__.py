"""The page of the patching study, made from its tables alone."""
