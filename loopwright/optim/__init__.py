"""Parts of the optimisation: parameter groups, and optimizers, schedulers and losses by name."""
