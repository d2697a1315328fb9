"""Where the embedded photos are: a small set of clothing photographs (CC0), for trying things out and for tests."""

from pathlib import Path


def demo_photos() -> Path:
    """The folder of the embedded photos: ``train`` and ``val``, each with ten classes of clothing.

    >>> sorted(path.name for path in demo_photos().iterdir() if path.is_dir())
    ['train', 'val']
    """
    return Path(__file__).parent / "demo" / "photos"
