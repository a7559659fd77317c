"""Long work: settings, a folder of finished cells, who computes them, and what is told of them at the end."""
