"""All ways to record that docs/scale.md shows write the same shards; every command of the page runs as it stands.

The block of object stores is slow: tests of the stores record, merge and detect in them as well.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from tests.audit.commands import CANDIDATES, REFERENCE, run_flashbulb, run_json, shard_digests, text_file
from tests.cases import slow_unless
from tests.documents.blocks import Block, blocks_of, run_shell, write_tools
from tests.paths import ROOT
from tests.services.object_store import BUCKET, s3_server
from tests.services.ray_cluster import ray_cluster

BLOCKS = [block for block in blocks_of(ROOT / "docs" / "scale.md") if block.is_run]
ADDRESS = "head-node:6379"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tools(tmp_path_factory.mktemp("tools"))


@contextmanager
def cluster_for(block: Block) -> Iterator[Block]:
    """Yield the block with the address of a cluster on this machine, if it names that of one."""
    if ADDRESS not in block.text:
        yield block
        return
    with ray_cluster() as cluster:
        yield block._replace(text=block.text.replace(ADDRESS, cluster.address))


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
    "block", slow_unless(lambda b: not b.is_slow and "s3://" not in b.text, BLOCKS), ids=[b.place for b in BLOCKS]
)
def test_the_commands_of_the_page_run_and_write_the_same_shards(
    block: Block, prepared: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("my-pipeline", "captions.csv", "clean.txt"):
        (tmp_path / name).symlink_to(prepared / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLASHBULB_SHARD_SIZE", "3")
    machines = count()

    def on_a_new_machine(words: Sequence[str]) -> list[str]:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine {next(machines)}"))
        return [word.replace("my-bucket", BUCKET) for word in words]

    with cluster_for(block) as here, s3_server() if "s3://" in here.text else nullcontext() as store:
        for name in ("my-pipeline", "captions.csv", "clean.txt") if store else ():
            store.put(prepared / name, name)
        calls = run_shell(here, tmp_path, tools, on_a_new_machine)
        assert [call.answer.code for call in calls] == [0] * len(calls)
        if store:
            store.get("runs/mine", tmp_path / "runs" / "mine")
    if calls[-1].words[0] == "record":  # an array, which the next block of the page merges
        assert run_flashbulb("merge", "runs/mine").code == 0
    assert shard_digests(Path("runs/mine")) == shard_digests(prepared / "run")
    assert run_json(Path("runs/mine"))["status"] in ("recorded", "detected")
