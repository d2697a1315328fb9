"""``loopwright train``: train a classifier, a restorer or a segmenter."""

import argparse
import sys
from pathlib import Path
from typing import Any

from .._errors import ConfigError
from ._given import TASKS, read_settings
from ._keys import KEYS
from ._training import recipe_of, train, with_folder


def add(commands: Any) -> None:
    """Add this command and its arguments."""
    parser = commands.add_parser(
        "train", help="train a classifier on a folder of pictures, or what its task says",
        epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="[CONFIG.yaml] [key=value ...]")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and try one batch; train nothing")
    parser.add_argument("--resume", action="store_true", help="go on also with changed settings, or after the end")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that is in the folder")
    parser.add_argument(
        "--commit",
        metavar="REV",
        help="with the code of a commit, branch, tag or RUN; data and run stay where they are",
    )
    parser.add_argument("--procs", type=int, metavar="N", help="as N processes, a GPU each where there are some")
    parser.add_argument(
        "--max-restarts", type=int, default=0, metavar="K", help="with --procs: start anew after a death"
    )
    parser.add_argument("--detach", action="store_true", help="train in the background; see also logs, runs, stop")
    parser.set_defaults(function=_run)


def _run(asked: argparse.Namespace) -> int:
    if asked.detach:
        return _detach(asked)
    if asked.commit is not None:
        from .._at_commit import train_at

        return train_at(asked.commit, asked.settings, _options(asked))
    if asked.procs is not None:
        return _start_procs(asked)
    if asked.dry_run:
        from .._config import config_text

        settings = read_settings(asked.settings, TASKS)
        print(config_text(settings), end="\n\n")
        print("\n".join(recipe_of(settings).dry_run(settings)))
        return 0
    train(asked.settings, resume=asked.resume, overwrite=asked.overwrite)
    return 0


def _start_procs(asked: argparse.Namespace) -> int:
    """The same command, several times; what is wrong with the settings is said once, here."""
    from .._procs import start_procs

    _, settings = _folder(asked)
    options = [option for option in _options(asked) if not option.startswith(("--procs", "--max-restarts"))]
    return start_procs("loopwright", ["train", *settings, *options], asked.procs, restarts=asked.max_restarts)


def _detach(asked: argparse.Namespace) -> int:
    """What is wrong with the settings is said here, before anything is started."""
    from .._detach import start_detached

    if asked.dry_run:
        raise ConfigError("--dry-run shows the plan and trains nothing: leave --detach out")
    commit = [] if asked.commit is None else ["--commit", asked.commit]
    folder, settings = _folder(asked)
    command = [sys.executable, "-m", "loopwright", "train", *settings, *commit, *_options(asked)]
    return start_detached(command, folder, lambda line: print(line, flush=True))


def _folder(asked: argparse.Namespace) -> tuple[Path, list[str]]:
    """The run's folder, and the arguments with the setting that says it."""
    if asked.commit is not None:  # whose modules and configuration are not those that are here
        given = [setting.partition("=")[2] for setting in asked.settings if setting.startswith("run=")]
        if not given:
            raise ConfigError("--detach with --commit needs run=FOLDER: the configuration of the commit is read later")
        return Path(given[-1]), asked.settings
    return with_folder(asked.settings)


def _options(asked: argparse.Namespace) -> list[str]:
    options = {"--dry-run": asked.dry_run, "--resume": asked.resume, "--overwrite": asked.overwrite}
    procs = [] if asked.procs is None else [f"--procs={asked.procs}", f"--max-restarts={asked.max_restarts}"]
    return [name for name, is_set in options.items() if is_set] + procs
