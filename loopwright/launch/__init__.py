"""Trainings on clusters: torchrun's lines, SLURM's scripts, Ray. Starts runs, and never reaches inside one."""
