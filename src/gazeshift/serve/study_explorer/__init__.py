"""The page over a finished study: its images, tables and maps."""
