"""Long runs on several processes of one machine, or on a Ray cluster: the same cells, the same rows."""
