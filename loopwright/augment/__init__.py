"""Augmentation of whole batches where they are, on any device. See _pipeline.py."""
