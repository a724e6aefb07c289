#!/bin/sh
# Audit a model and judge it, on any machine with engram on its PATH and without a container.
#
#   sh gate.sh MODEL RUN [BASELINE]
#
# With BASELINE, the run directory of an earlier model, only what is new or worse counts. The exit code is the
# gate's: 0 pass, 1 the model leaks, 2 usage, 3 not to be trusted, 4 internal error.
set -eu

model=$1 run=$2 baseline=${3-}

engram audit --model "$model" --prompts captions.csv --reference reference.txt --train-images pictures --out "$run"

if [ -e waivers.toml ]; then
    engram waivers check waivers.toml --run "$run" || [ $? -eq 1 ] # the gate names those that expired
    set -- --waivers waivers.toml
else
    set --
fi
if [ -n "$baseline" ]; then
    engram diff "$baseline" "$run"
    set -- "$@" --baseline "$baseline" --new-only
fi
exec engram gate "$run" --policy policy.toml "$@" --summary gate.md --junit junit.xml --findings findings.parquet \
    --model-card model-card.md
