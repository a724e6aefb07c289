#!/bin/sh
# Audit a model and judge the audit, on any machine with flashbulb installed (pip install "flashbulb[audit]").
#
#   sh gate.sh MODEL RUN [BASELINE]
#
# With BASELINE, the run directory of an earlier audit, only new and worse findings count. The exit code is that of
# the gate: 0 pass, 1 the model leaks, 2 usage error, 3 untrusted audit, 4 internal error.
set -eu

model=$1 run=$2 baseline=${3-}

flashbulb audit --model "$model" --prompts captions.csv --reference reference.txt --train-images images --out "$run"

if [ -e waivers.toml ]; then
    flashbulb waivers check waivers.toml --run "$run" || [ $? -eq 1 ] # the gate names expired waivers
    set -- --waivers waivers.toml
else
    set --
fi
if [ -n "$baseline" ]; then
    flashbulb diff "$baseline" "$run"
    set -- "$@" --baseline "$baseline" --new-only
fi
exec flashbulb gate "$run" --policy policy.toml "$@" --summary gate.md --junit junit.xml --findings findings.parquet \
    --model-card model-card.md
