"""``Speed``: how fast the loop goes and how much of its time it waits for data. Measures only."""

import time

import torch


class Speed:
    """Batches, samples, seconds and waiting since ``start``."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.began = time.perf_counter()
        self.batches = self.samples = 0
        self.waited = 0.0  # seconds

    def add(self, samples: int, waited: float) -> None:
        """One batch more: its samples, and the seconds that the loop waited for it."""
        self.batches += 1
        self.samples += samples
        self.waited += waited

    def read(self) -> dict[str, float]:
        """Rates since ``start``; ``seconds`` is how long that was."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        rates = {
            "seconds": round(seconds, 3),
            "samples_per_second": round(self.samples / seconds, 2),
            "waiting": round(self.waited / seconds, 4),
        }
        if torch.cuda.is_initialized():
            rates["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
        return rates
