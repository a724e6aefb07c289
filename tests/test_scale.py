"""Every command of docs/scale.md runs as it stands, and all ways to record that it shows write the same shards."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from tests.audit.commands import CANDIDATES, REFERENCE, digests, run_flashbulb, run_json, text_file
from tests.paths import ROOT
from tests.ray_cluster import AUTHENTICATION, ray_cluster

BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "scale.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
ADDRESS = "head-node:6379"
CALLED = (
    "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:]]), file=open(os.environ['CALLS'], 'a'))"
)
LAUNCHER = """
while [ "$1" != flashbulb ]; do shift; done
for rank in 1 0; do {rank}=$rank {size}=2 "$@"; done
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commands that only note how they are called; launchers call theirs once for each of two processes."""
    folder = tmp_path_factory.mktemp("tools")
    scripts = {
        "ray": "true",
        "flashbulb": f'exec python3 -c "{CALLED}" "$@"',
        "torchrun": LAUNCHER.format(rank="RANK", size="WORLD_SIZE"),
        "srun": LAUNCHER.format(rank="SLURM_PROCID", size="SLURM_NTASKS"),
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def calls_of(block: str, tools: Path, folder: Path) -> list[tuple[dict[str, str], list[str]]]:
    """Run a block with bash, once for each element of its array; return what it calls `flashbulb` with, and where."""
    array = re.search(r"--array=1-(\d+)", block)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(folder / "calls")}
    for element in range(1, int(array[1]) + 1) if array else [0]:
        variables = {**environment, "SLURM_ARRAY_TASK_ID": str(element)}
        subprocess.run(["bash", "-e", "-c", block], cwd=folder, env=variables, check=True)
    names = ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "RAY_ADDRESS")
    lines = [json.loads(line) for line in (folder / "calls").read_text("utf-8").splitlines()]
    return [({name: called[name] for name in names if name in called}, words) for called, words in lines]


@contextmanager
def cluster_for(block: str) -> Iterator[str]:
    """Yield the block with the address of a cluster on this machine, if it names that of one."""
    if ADDRESS not in block:
        yield block
        return
    with pytest.MonkeyPatch.context() as patch, ray_cluster() as cluster:
        for name, value in AUTHENTICATION.items():
            patch.setenv(name, value)
        yield block.replace(ADDRESS, cluster.address)


def recorded(run: Path) -> dict[str, str]:
    """Return the hashes of the shards and their manifests."""
    return {name: digest for name, digest in digests(run / "activations").items() if "/part-" in name}


@pytest.fixture(scope="module")
def prepared(toy_pipe: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs that the page names, and their recording by one process. Read-only."""
    folder = tmp_path_factory.mktemp("prepared")
    toy_pipe.save_pretrained(folder / "my-pipeline")
    text_file(folder / "captions.csv", ["prompt", *CANDIDATES])
    text_file(folder / "clean.txt", REFERENCE)
    names = {"--model": "my-pipeline", "--prompts": "captions.csv", "--reference": "clean.txt", "--out": "run"}
    options = [word for name, value in names.items() for word in (name, folder / value)]
    assert run_flashbulb("record", *options, "--shard-size", "3").code == 0
    return folder


@pytest.mark.parametrize(
    "number",
    [pytest.param(i, marks=[pytest.mark.slow] if ADDRESS in block else []) for i, block in enumerate(BLOCKS)],
)
def test_the_commands_of_the_page_run_and_write_the_same_shards(
    number: int, prepared: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("my-pipeline", "captions.csv", "clean.txt"):
        (tmp_path / name).symlink_to(prepared / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLASHBULB_SHARD_SIZE", "3")
    with cluster_for(BLOCKS[number]) as block:
        calls = calls_of(block, tools, tmp_path)
        for variables, words in calls:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(name, value)
                answer = run_flashbulb(*words)
                assert answer.code == 0, answer.err
    if calls[-1][1][0] == "record":  # an array, which the next block of the page merges
        assert run_flashbulb("merge", "runs/mine").code == 0
    assert recorded(Path("runs/mine")) == recorded(prepared / "run")
    assert run_json(Path("runs/mine"))["status"] in ("recorded", "detected")
