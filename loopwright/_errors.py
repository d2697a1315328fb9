"""The errors that loopwright raises, and nothing else. Knows nothing about what raises them.

    LoopwrightError
    ├── ConfigError       a setting is unknown, of the wrong type or out of range   (also a ValueError)
    ├── DataError         pictures, tables or datasets that cannot be used          (also a ValueError)
    ├── CheckpointError   a checkpoint is damaged, foreign or does not fit          (also a RuntimeError)
    ├── RunError          the run folder cannot be used as asked                    (also a RuntimeError)
    ├── NonFiniteError    a loss or gradient became NaN or infinite                 (also an ArithmeticError)
    └── MissingExtra      an optional package is not installed                      (also an ImportError)

Each message names the value, the place and the next thing to do. On the command line a LoopwrightError is one
message without a traceback: exit code 2 before training starts, 1 after.
"""


class LoopwrightError(Exception):
    """The parent of every error that loopwright raises on purpose."""


class ConfigError(LoopwrightError, ValueError):
    """One or more settings are wrong; the message lists all of them."""


class DataError(LoopwrightError, ValueError):
    """Pictures, labels or a dataset cannot be used; the message names the file or folder."""


class CheckpointError(LoopwrightError, RuntimeError):
    """A checkpoint is damaged, was not written by loopwright, or does not fit what it is loaded into."""


class RunError(LoopwrightError, RuntimeError):
    """The run folder cannot be used as asked: finished, in use, of another configuration, not writable."""


class NonFiniteError(LoopwrightError, ArithmeticError):
    """A loss, gradient or weight became NaN or infinite; ``step`` is the first one, where it is known."""

    def __init__(self, message: str, *, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


class MissingExtra(LoopwrightError, ImportError):
    """An optional package is needed for this; the message gives the command that installs it."""

    def __init__(self, package: str, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs the package '{package}': pip install 'loopwright[{extra}]'")
