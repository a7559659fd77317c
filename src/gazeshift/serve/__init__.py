"""A classifier and its detector behind HTTP: the gateway, and pages to explore what it saw."""
