"""A file a command: its arguments, and what it calls."""
