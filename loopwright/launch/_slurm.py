"""The scripts that SLURM runs: a training of a group of machines, and workers of a sweep. Knows nothing of submitting them.

A job that is told that its time is nearly up, or that another one is to have its machines, has the training save and
leave, and queues itself again. It goes on in the same folder, with the same weights as one that nobody disturbed.

Source: https://slurm.schedmd.com/sbatch.html (--signal, --requeue), https://slurm.schedmd.com/srun.html (signals)
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ._group import Group, quoted
from ._sbatch_options import SbatchOptions

MARK = "# Written by loopwright"  # what may be written over

# A task's shell lets its own SIGUSR1 pass, so that torchrun outlives it; the processes that train install a handler.
_DEAF = ["bash", "-c", 'trap "" USR1; exec "$@"', "loopwright"]

_HEAD = """\
# shellcheck disable=SC1003,SC2016,SC2317 # quoted words are meant as they stand, and traps call functions
set -u
cd -- {here} || exit 2
notice={notice}
told=
work=
watch=
left=$(mktemp) || exit 1 # training processes write here by which signal they left
export LOOPWRIGHT_LEFT="$left"
trap 'rm -f "$left"' EXIT

again() {{
    echo "requeue    job $SLURM_JOB_ID goes on later, from its last checkpoint"
    scontrol requeue "$SLURM_JOB_ID"
}}

on_notice() {{
    woken=yes
    [ -z "$told" ] || return 0
    told=yes
    echo "notice     job $SLURM_JOB_ID has $notice seconds left: saving"
    [ -z "$work" ] || kill -USR1 "$work"
    (
        trap 'kill "$nap"; exit 0' TERM
        sleep $((notice - 30)) &
        nap=$!
        wait "$nap"
        again # however far it came
    ) &
    watch=$!
}}
trap on_notice USR1
"""

_TAIL = """\
work=$!
[ -z "$told" ] || kill -USR1 "$work"
woken=yes
while [ -n "$woken" ]; do # a notice ends the waiting, not the work
    woken=
    wait "$work"
    status=$?
done
queued=
[ -z "$watch" ] || kill "$watch" 2> /dev/null || queued=yes # it ends when it has done so
[ ! -s "$left" ] || status=$((128 + $(cat "$left")))
if [ -n "$told" ] && [ "$status" -gt 128 ]; then # 0: it came to its end; others: an error, which would come again
    # SLURM ends this script; if it ended first, SLURM could take the job for a failed one.
    [ -n "$queued" ] || again && sleep 60
fi
exit "$status"
"""


def training_script(
    group: Group, options: SbatchOptions, arguments: Sequence[str], *, here: Path, command: str = ""
) -> str:
    """The script that trains on ``group.nodes`` machines.

    Args:
        arguments: of loopwright; the run's folder is among them, and on storage that all machines share.
        here: the folder to be in: relative paths are meant from there.
        command: what wrote it, for its first lines.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    mark = "LOOPWRIGHT-FIRST-MACHINE:LOOPWRIGHT-PORT"
    words = quoted(group.words(mark, arguments, launcher)).replace(mark, '"$first:$port"', 1)
    meet = (
        []
        if group.is_one_machine
        else [
            'nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")',
            r"first=${nodes%%$'\n'*}",
            "port=$((20000 + SLURM_JOB_ID % 10000)) # another one for each job on a machine",
        ]
    )
    if options.cpus is not None:
        meet.append(f"export OMP_NUM_THREADS={max(1, options.cpus // group.procs)}")
    meet.append(f"export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={options.notice} # seconds to save in after a SIGTERM")
    step = ["srun", f"--nodes={group.nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1", *_cpus(options)]
    return _script(
        options.lines(nodes=int(group.nodes)), options, meet, f"{quoted([*step, *_DEAF])} {words}", here, command
    )


def worker_script(
    options: SbatchOptions, arguments: Sequence[str], *, workers: int, here: Path, command: str = ""
) -> str:
    """The script of an array of ``workers`` jobs, each a worker at one sweep's folder."""
    # Without srun, whose signals would reach the trials too, which their worker tells.
    worker = quoted([sys.executable, "-m", "loopwright", *arguments])
    return _script(options.lines(nodes=1, array=workers), options, [], worker, here, command)


def _cpus(options: SbatchOptions) -> list[str]:
    return [] if options.cpus is None else [f"--cpus-per-task={options.cpus}"]  # srun does not take it from the job


def _script(
    asked: Sequence[str], options: SbatchOptions, before: Sequence[str], work: str, here: Path, command: str
) -> str:
    head = _HEAD.format(here=shlex.quote(str(here)), notice=options.notice)
    said = " ".join(command.splitlines())
    return "\n".join(["#!/bin/bash", *asked, f"{MARK}: {said}", "", head, *before, f"{work} &", _TAIL])
