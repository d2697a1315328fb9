#!/bin/sh
# A training in the background: started, looked at, stopped, gone on with, waited for. The exit code is 0 if it finished.
#   sh examples/background.sh RUN [CONFIG.yaml] [key=value ...]      as for loopwright train
#   sh examples/background.sh runs/night examples/quick.yaml data=packed
set -eu
run=$1
shift
loopwright train "$@" run="$run" --detach
loopwright runs "$run"
loopwright logs "$run" -n 5
loopwright stop "$run" || true # it may be through already
loopwright train "$@" run="$run" --detach
loopwright logs "$run" -f -n 0
