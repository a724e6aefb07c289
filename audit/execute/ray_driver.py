"""A process that speaks with a Ray cluster, as its driver.

Ray ends its driver without a word when the cluster is gone. In a process of its own that is an end of a pipe, and the
command that reads it can say so. It also keeps what Ray prints out of the command's output.
"""

from __future__ import annotations

import os
import pickle
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from logging import INFO, WARNING
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Any, NamedTuple

from flashbulb.audit.execute.messages import Ended, Message, Said
from flashbulb.audit.execute.parent import follow_parent
from flashbulb.audit.execute.ray_worker import RayWorker
from flashbulb.audit.execute.serve import Place

_NEW_CLUSTER = "local"  # an address that makes Ray start one
_STORE_BYTES = 100 * 2**20  # tasks and messages are small
_MAX_REASON = 300
_SECONDS_TO_REACH = 10.0
_TOKEN_HINT = ", which asks for a token: set RAY_AUTH_MODE=token"


class Start(NamedTuple):
    """Start the actor of this key, which is used once."""

    key: int
    place: Place
    work: bytes


class Give(NamedTuple):
    """Give a task to an actor."""

    key: int
    task: bytes


class Stop(NamedTuple):
    """Kill an actor."""

    key: int


class Refused(NamedTuple):
    """There is no cluster to work with."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster, and what to ask of it.

    Args:
        address: of a cluster; None starts one on this machine, which ends with the driver.
        needs: resources of each worker by the names of Ray, "CPU" and "GPU".
        versions: of the libraries that affect results.
    """

    address: str | None
    n_workers: int
    needs: Mapping[str, float]
    versions: Mapping[str, str]


def drive(cluster: Cluster, connection: Connection) -> None:
    """Do what comes over the connection, and send pairs of a key and a pickled message, until it closes."""
    follow_parent()
    _silence()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if cluster.address is None and "RAY_AUTH_MODE" not in os.environ:  # else Ray writes a token into the home directory
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray

    try:
        _connect(cluster)
    except Exception as error:  # of many kinds, and all mean that there is no cluster
        wants_token = "AuthToken" in str(error.__cause__)
        connection.send(Refused(_last_line(error) + (_TOKEN_HINT if wants_token else "")))
        return
    driver = _Driver(cluster, connection)
    driver.tell(None, Said(INFO, _describe()))
    for resource, needed in cluster.needs.items():
        if (found := ray.cluster_resources().get(resource, 0)) < needed * cluster.n_workers:
            text = (
                f"the Ray cluster has {found:g} {resource}, {cluster.n_workers} workers need {needed:g} each; some wait"
            )
            driver.tell(None, Said(WARNING, text))
    with suppress(EOFError, OSError):
        while True:
            driver.do(connection.recv())
    ray.shutdown()


class _Driver:
    """The actors that were started, each with a thread that waits for its messages."""

    def __init__(self, cluster: Cluster, connection: Connection) -> None:
        import ray

        self._cluster, self._connection, self._lock = cluster, connection, Lock()
        needs = cluster.needs
        options = {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0), "max_concurrency": 2, "max_restarts": 0}
        self._actor_class = ray.remote(**options)(RayWorker)
        self._actors: dict[int, Any] = {}

    def tell(self, key: int | None, message: Message) -> None:
        self._send(key, pickle.dumps(message))

    def do(self, command: Start | Give | Stop) -> None:
        import ray

        match command:
            case Start(key, place, work):
                self._actors[key] = self._actor_class.remote(place, self._cluster.versions, work)
                Thread(target=self._listen, args=(key, self._actors[key]), daemon=True).start()
            case Give(key, task):
                self._actors[key].give.remote(task)
            case Stop(key):
                ray.kill(self._actors.pop(key))

    def _listen(self, key: int, actor: Any) -> None:
        import ray

        try:
            while True:
                for message in ray.get(actor.poll.remote()):
                    self._send(key, message)
        except ray.exceptions.RayError as error:
            if not _is_connected():
                os._exit(1)  # the other end of the connection says that the cluster is gone
            self.tell(key, Ended(f"is lost: {_last_line(error)}"))

    def _send(self, key: int | None, message: bytes) -> None:
        with self._lock, suppress(OSError):  # nobody listens any longer
            self._connection.send((key, message))


def _silence() -> None:
    """Send what this process and those of a new cluster print nowhere; Ray keeps its own logs."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _connect(cluster: Cluster) -> None:
    import ray

    address = cluster.address or _NEW_CLUSTER
    if address != _NEW_CLUSTER:
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():  # else Ray tries for minutes
            socket.create_connection((host, int(port)), timeout=_SECONDS_TO_REACH).close()
        ray.init(address=address, log_to_driver=False)
        return
    ray.init(
        address=address,
        log_to_driver=False,
        include_dashboard=False,
        object_store_memory=_STORE_BYTES,
        num_cpus=round(cluster.needs["CPU"] * cluster.n_workers),
    )


def _describe() -> str:
    import ray

    resources = ray.cluster_resources()
    counts = ", ".join(f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if name in resources)
    return f"Ray cluster at {ray.get_runtime_context().gcs_address}: {len(ray.nodes())} machine(s), {counts}"


def _is_connected() -> bool:
    """Whether the cluster still knows the machine of this process."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return any(node["Alive"] and node["NodeID"] == own for node in ray.nodes())


def _last_line(error: Exception) -> str:
    """Return what an error of Ray says in its last line, without advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(" Some common causes")[0][:_MAX_REASON] if lines else type(error).__name__
