"""Experiments: each a list of cells and a function from a cell to rows. Resumable, and written as Parquet."""
