"""Which of the loops in C are used here, in words: without them the bits of sound files are the same, the speed is not."""

from ._jpeg import parts_are_exact
from ._view import has_crop_copy

_REMEDY = (
    "with a C compiler and libjpeg-turbo's headers (Debian: gcc libjpeg-dev) install loopwright anew from its source"
)


def compiled() -> str:
    """What is compiled, or what is missing and how to have it."""
    parts = {"parts of JPEG files": parts_are_exact(), "crops": has_crop_copy()}
    missing = [name for name, is_there in parts.items() if not is_there]
    if not missing:
        return "parts of JPEG files and crops are read by what was compiled"
    what = " and ".join(missing)
    return f"not compiled here, or against a library that reads otherwise: {what}, which take longer so; {_REMEDY}"
