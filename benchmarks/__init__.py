"""loopwright measured beside its peers. No part of the package: nothing in `loopwright` imports this.

    python -m benchmarks.overhead   what a loop costs: microseconds a step, memory, import
    python -m benchmarks.kill       what SIGKILL leaves: weights, history, samples, checkpoints
    python -m benchmarks.caching    what keeping decoded pictures gains, and that it is shared

See README.md here for what each one measures and how to read it.
"""
