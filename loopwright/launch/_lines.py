"""``lines_to_paste``: what to type on each machine, for those who start them by hand or by a tool of their own."""

from collections.abc import Sequence

from ._group import PORT, Group, quoted

_FIRST = "${FIRST:?is the name of the first machine}"  # a shell that lacks it says so and starts nothing


def lines_to_paste(group: Group, arguments: Sequence[str], *, host: str | None = None, port: int = PORT) -> list[str]:
    """Comments and commands.

    With a host, one command for all machines. Without, one for the first, which is met at its own name, and one for
    the others, which are told that name.

    >>> print("\\n".join(lines_to_paste(Group(1, 2, "woof"), ["train", "woof.yaml"])))
    torchrun --nnodes=1 --nproc-per-node=2 --max-restarts=3 --standalone -m loopwright train woof.yaml
    """
    if group.is_one_machine:
        return [quoted(group.words("", arguments))]
    seen = "# They have to see the same run folder, data and configuration: use paths on storage that they share."
    if host is not None:
        return [
            f"# On each machine, {host} being one of them. {seen[2:]}",
            quoted(group.words(f"{host}:{port}", arguments)),
        ]
    mark = "LOOPWRIGHT-FIRST-MACHINE"
    line = quoted(group.words(f"{mark}:{port}", arguments))
    return [
        seen,
        "# On the first machine:",
        line.replace(mark, '"$(hostname -f)"', 1),
        "# On each other one, with the first one's name (hostname -f) in FIRST:",
        line.replace(mark, f'"{_FIRST}"', 1),
    ]
