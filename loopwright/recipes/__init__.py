"""From settings to pieces to ``fit``."""
