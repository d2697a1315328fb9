"""Members of a shard to samples: consecutive files of one name make one. Knows neither what is in them nor who asks."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from ._tar import BrokenTar, Member


class ShardSample(NamedTuple):
    """The files of one sample, by what stands behind the first dot of their name."""

    number: int  # in its shard, 0 first; the same whatever is left out
    key: str
    members: dict[str, Member]
    contents: dict[str, bytes]  # of those that were asked for


class ShardFault(NamedTuple):
    """Something that is wrong with a shard; what is named in it is left out."""

    message: str


def split_name(name: str) -> tuple[str, str] | None:
    """The key of a member and its extension in small letters; None for hidden files and those without extension.

    >>> split_name("a.b/0001.seg.PNG"), split_name("a/.DS_Store"), split_name("README")
    (('a.b/0001', 'seg.png'), None, None)
    """
    folder, slash, file = name.rpartition("/")
    stem, dot, extension = file.partition(".")
    return (f"{folder}{slash}{stem}", extension.lower()) if stem and dot and extension else None


def shard_samples(
    members: Iterable[Member], shard: str, read: Callable[[int, str], bytes | None] = lambda number, extension: None
) -> Iterator[ShardSample | ShardFault]:
    """The samples of an archive in their order, and between them what is wrong.

    Args:
        members: those of the archive.
        shard: its name, for messages.
        read: reads the member that was given last, or does not, by the number of its sample and its extension.
    """
    sample, last, seen = None, "", set()
    try:
        for member in members:
            fault, split = _fault(member), split_name(member.name)
            if fault is not None:
                yield ShardFault(f"{shard}: {fault}")
                continue
            if split is None:
                continue
            key, extension = _normal(split[0]), split[1]
            if sample is None or key != sample.key:
                if sample is not None:
                    last = sample.key
                    yield sample
                sample = ShardSample(0 if sample is None else sample.number + 1, key, {}, {})
                if key in seen:
                    yield ShardFault(
                        f"{shard}/{key}: this name came before in the shard; a sample's files stand together"
                    )
                seen.add(key)
            if extension in sample.members:
                yield ShardFault(f"{shard}/{key}.{extension}: this name came before in the shard")
                continue
            sample.members[extension] = member
            if (content := read(sample.number, extension)) is not None:
                sample.contents[extension] = content
    except BrokenTar as error:
        behind = f"the last whole sample is {last!r}" if last else "no sample of it is whole"
        yield ShardFault(f"{shard}: {error}; {behind}. Fetch or write it again")
        return
    if sample is not None:
        yield sample


def _fault(member: Member) -> str | None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        return f"member {member.name!r} leads out of the archive"
    if member.is_link:
        return f"member {member.name!r} is a link, without content: tar --dereference --hard-dereference writes files"
    return None


def _normal(key: str) -> str:
    """Without the "./" of ``tar -C FOLDER .``."""
    return str(PurePosixPath(key))
