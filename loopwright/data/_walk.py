"""``walk``: a folder and those below it, links followed. Knows no kinds of files."""

import os
from collections.abc import Callable, Iterator

from .._errors import DataError


def is_hidden(name: str) -> bool:
    """Whether a file or folder is nobody's data. What lies in ``lost+found``, at the top of a disk, is the system's."""
    return name.startswith(".") or name == "lost+found"


def inside(folder: str | os.PathLike[str]) -> list[str]:
    """The names in a folder, sorted.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        refuse(error)
        raise


def refuse(error: OSError) -> None:
    """A folder that cannot be read is an error: what lies in it would be missing, and nobody would know."""
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); allow it, or move it elsewhere") from None


def walk(
    folder: str | os.PathLike[str], unreadable: Callable[[OSError], None] = refuse
) -> Iterator[tuple[str, list[str], list[str], list[str]]]:
    """As ``os.walk``, from the top down: where, the folders there, the files there; and links that are not followed.

    Links to folders are followed, but for those that lead back to a folder in which they lie. Who takes a name out of the
    folders is not led into it.
    """
    for where, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        back = [name for name in folders if _leads_back(where, name)]
        folders[:] = sorted(name for name in folders if name not in back)
        yield where, folders, files, sorted(back)


def _leads_back(where: str, name: str) -> bool:
    path, above = os.path.join(where, name), os.path.abspath(where)
    if not os.path.islink(path):
        return False
    while not os.path.samefile(path, above):
        if above == os.path.dirname(above):
            return False
        above = os.path.dirname(above)
    return True
