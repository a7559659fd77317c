"""The gateway: a classifier and its detector behind HTTP."""
