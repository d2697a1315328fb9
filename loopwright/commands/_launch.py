"""``loopwright launch``: a training on a cluster: torchrun's lines to paste, a script for SLURM, Ray."""

import argparse
import functools
from pathlib import Path
from typing import Any

from .._errors import ConfigError
from ._jobs import add_options, deliver, options_of, own_command
from ._training import train, with_folder

_EXAMPLES = """\
loopwright launch print photos.yaml run=/shared/woof --nodes 2 --procs 8 --host n01
loopwright launch slurm photos.yaml run=/shared/woof --nodes 2 --gpus 8 --cpus 64 --time 8:00:00 --submit
loopwright launch ray photos.yaml run=/shared/woof --procs 16 --use-gpu

exit codes: 0 done, 1 failed while training, 2 a mistake in what was asked for
"""


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "launch", help="train on a cluster: torchrun's lines to paste, a script for SLURM, Ray",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    engines = parser.add_subparsers(dest="engine", metavar="ENGINE", required=True)
    _add_print(engines)
    _add_slurm(engines)
    _add_ray(engines)


def _add_print(engines: Any) -> None:
    parser = engines.add_parser("print", help="the torchrun lines to paste")
    _add_common(parser, nodes=True)
    parser.add_argument("--procs", type=int, default=1, metavar="P", help="processes on each machine (1)")
    parser.add_argument("--host", help="the machine at which they meet, one of them: then all have the same line")
    parser.add_argument("--port", type=int, default=29400, help="of it (29400)")
    parser.set_defaults(function=_print)


def _add_slurm(engines: Any) -> None:
    parser = engines.add_parser("slurm", help="a script for sbatch, which goes on when it was preempted")
    _add_common(parser, nodes=True)
    parser.add_argument("--procs", type=int, metavar="P", help="processes on each machine (one for each GPU, else 1)")
    add_options(parser)
    parser.set_defaults(function=_slurm)


def _add_ray(engines: Any) -> None:
    parser = engines.add_parser("ray", help="the workers of Ray Train (extra: ray)")
    _add_common(parser, nodes=False)
    parser.add_argument("--procs", type=int, default=1, metavar="N", help="workers, wherever Ray has room (1)")
    parser.add_argument("--use-gpu", action="store_true", help="a GPU for each")
    parser.add_argument("--cpus", type=int, default=1, metavar="C", help="cores for each (1)")
    parser.add_argument("--address", help="of the Ray cluster (the one that is set, else this machine)")
    parser.set_defaults(function=_ray)


def _add_common(parser: Any, *, nodes: bool) -> None:
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    if nodes:
        parser.add_argument("--nodes", default="1", metavar="N", help="machines (1); MIN:MAX for print")
    parser.add_argument("--max-restarts", type=int, default=3, metavar="K", help="start anew after deaths (3)")


def _print(asked: argparse.Namespace) -> int:
    from ..launch._group import Group
    from ..launch._lines import lines_to_paste

    folder, settings = with_folder(asked.settings)
    group = Group(asked.nodes, asked.procs, folder.name, asked.max_restarts)
    print("\n".join(lines_to_paste(group, ["train", *settings], host=asked.host, port=asked.port)))
    return 0


def _slurm(asked: argparse.Namespace) -> int:
    from ..launch._group import Group
    from ..launch._slurm import training_script

    if ":" in asked.nodes:
        raise ConfigError(f"--nodes {asked.nodes}: a job of SLURM has a fixed number of machines")
    folder, settings = with_folder(asked.settings)
    procs = asked.procs if asked.procs is not None else asked.gpus or 1
    group = Group(asked.nodes, procs, folder.name, asked.max_restarts)
    script = training_script(
        group, options_of(asked, folder.name), ["train", *settings], here=Path.cwd(), command=own_command()
    )
    return deliver(asked, folder.name, script)


def _ray(asked: argparse.Namespace) -> int:
    from ..launch._ray import train_on_ray

    folder, settings = with_folder(asked.settings)
    return train_on_ray(
        functools.partial(train, settings),
        folder=folder,
        workers=asked.procs,
        gpus=asked.use_gpu,
        cpus=asked.cpus,
        restarts=asked.max_restarts,
        address=asked.address,
        tell=lambda line: print(line, flush=True),
    )
