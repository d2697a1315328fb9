"""Mirrors of a run's record: TensorBoard, MLflow, Weights & Biases, and trackers of your own."""
