"""Plain models, and models by name."""
