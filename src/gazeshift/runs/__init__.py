"""Long work: settings, a folder of finished cells, who computes them, and the manifest that says what was done."""
