"""A classifier and its detector behind HTTP (`gateway`), a page over it (`explorer`), and one over a finished study."""
