"""Which part of a recording this process makes, and on which GPU: by `--shard`, or as torchrun or srun says."""

from __future__ import annotations

import os
import re

import torch

from flashbulb.audit.record.sets import Part
from flashbulb.audit.settings import SettingsError

RANKS = "ranks"
_RANKS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
"""Variables of torchrun and of srun: this process, all processes, this process on its machine."""


def read_part(text: str) -> Part:
    """Return the part that `--shard` names: "2/4", or "ranks", which asks torchrun or srun.

    Raises:
        SettingsError: it names none.
    """
    if text == RANKS:
        names = next((names for names in _RANKS if all(name in os.environ for name in names[:2])), None)
        if names is None:
            raise SettingsError(
                "--shard ranks needs RANK and WORLD_SIZE, which torchrun sets, or SLURM_PROCID and SLURM_NTASKS, which "
                "srun sets; start it with one of them, or give --shard i/n"
            )
        return _rank(*names[:2])
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise SettingsError(f"--shard: {text!r} is neither i/n with i from 1 to n, such as 2/4, nor {RANKS}")
    return Part(int(match[1]), int(match[2]))


def _rank(name: str, name_of_all: str) -> Part:
    rank, n = os.environ[name], os.environ[name_of_all]
    if not (rank.isdecimal() and n.isdecimal() and int(rank) < int(n)):
        raise SettingsError(
            f"--shard ranks: {name} is {rank!r} and {name_of_all} {n!r}, not a number from 0 and how many there are; "
            "unset both, and start it with torchrun or srun"
        )
    return Part(int(rank) + 1, int(n))


def use_local_device(device: str) -> None:
    """Let each process that torchrun or srun started on this machine use a GPU of its own.

    Raises:
        SettingsError: the variable that says which process this is holds no number.
    """
    name = next((names[2] for names in _RANKS if names[2] in os.environ), None)
    if name is None:
        return
    if not os.environ[name].isdecimal():
        raise SettingsError(f"{name} is {os.environ[name]!r}, not the number of a process on this machine; unset it")
    if device in ("auto", "cuda") and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ[name]) % torch.cuda.device_count())
