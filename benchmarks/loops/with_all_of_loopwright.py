"""loopwright, of which every public name has been imported: what the one call and the command line need besides."""

import loopwright as lw
from benchmarks.loops.with_loopwright import train

ALL = [getattr(lw, name) for name in lw.__all__]

__all__ = ["ALL", "train"]
