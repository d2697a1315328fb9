"""For tests and doctests alike: their runs leave no snapshots in this repository."""

import os

os.environ.setdefault("LOOPWRIGHT_SNAPSHOT", "off")
