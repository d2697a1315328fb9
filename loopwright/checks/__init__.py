"""Karpathy's recipe on the user's own model, loss and data: a file a family of checks, one that runs them in order."""
