"""Connects the processes of a run that a cluster has started, with `jax.distributed`.

Without a cluster nothing happens: a run has one process. A cluster is found by what it leaves in
the environment (see `find_cluster`). Each process then sees the devices of all processes.
"""

import contextlib
import importlib.util
import os
import re
import socket
import threading
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from pvn.errors import UserError
from pvn.runs import peers

ARRIVAL = 50.0  # seconds within which all processes must arrive

_JAX = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_METADATA = "computeMetadata/v1/instance/attributes/worker-network-endpoints"
_SHUTDOWN = 3600  # seconds that a process waits at the end for the first one to write its files


class Processes(NamedTuple):
    """The processes of a run."""

    rank: int  # of this process, from 0
    size: int  # number of processes

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's files. No other process does."""
        return self.rank == 0


class Cluster(NamedTuple):
    """A cluster that was found."""

    name: str
    arguments: dict[str, Any]  # of jax.distributed.initialize
    coordinator: str = ""  # name or address of the first process's host, if it is known


def find_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that has started this process as one of several; None if there is none.

    In this order: JAX's own variables (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES,
    JAX_PROCESS_ID), a step of several tasks under SLURM's `srun`, Open MPI's `mpirun`, and a TPU
    slice of several hosts.

    Raises:
      UserError: a variable is not what it should be; the message names it.
    """
    if all(name in environment for name in _JAX):
        address, count, index = (environment[name] for name in _JAX)
        return _explicit("jax", address, _integer(_JAX[1], count), _integer(_JAX[2], index))
    for name in _JAX[1:]:
        if name in environment:
            missing = next(name for name in _JAX if name not in environment)
            raise UserError(f"{missing}: is not set, but {name} is; expected {', '.join(_JAX)}")
    if _integer("SLURM_STEP_NUM_TASKS", environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        arguments: dict[str, Any] = {"cluster_detection_method": "slurm"}
        if re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
            # JAX would give each task the GPU of its number on the node: the first one only.
            arguments["local_device_ids"] = []
        return Cluster("slurm", arguments)
    size = _integer("OMPI_COMM_WORLD_SIZE", environment.get("OMPI_COMM_WORLD_SIZE", "1"))
    if size > 1:
        if _JAX[0] in environment:
            rank = _integer("OMPI_COMM_WORLD_RANK", environment.get("OMPI_COMM_WORLD_RANK", ""))
            return _explicit("ompi", environment[_JAX[0]], size, rank)
        if "OMPI_MCA_orte_hnp_uri" not in environment:
            raise UserError(
                "OMPI_COMM_WORLD_SIZE: this Open MPI does not say where the first process is; set "
                "JAX_COORDINATOR_ADDRESS to its host and a free port, as in node1:12345"
            )
        return Cluster("ompi", {"cluster_detection_method": "ompi"})
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES")
    if hosts is None and importlib.util.find_spec("libtpu") is not None:
        hosts = _tpu_hosts(environment)
    return Cluster("tpu", {}) if hosts and "," in hosts else None


def _explicit(name: str, address: str, count: int, index: int) -> Cluster | None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"JAX_COORDINATOR_ADDRESS={address}: expected host:port, as in node1:12345")
    if not 0 <= index < count:
        raise UserError(f"JAX_PROCESS_ID={index}: expected 0 to {count - 1}, of {count} processes")
    if count == 1:
        return None
    arguments = {"coordinator_address": address, "num_processes": count, "process_id": index}
    return Cluster(name, arguments | {"cluster_detection_method": "deactivate"}, host)


def _integer(name: str, text: str) -> int:
    if not text.isdigit():
        raise UserError(f"{name}={text}: expected a whole number")
    return int(text)


def _tpu_hosts(environment: Mapping[str, str]) -> str:
    """The hosts of a TPU VM's slice, comma-separated; empty if this is none."""
    if "TPU_SKIP_MDS_QUERY" in environment:
        return ""
    server = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{server}/{_METADATA}", headers={"Metadata-Flavor": "Google"}
    )
    try:
        with urllib.request.urlopen(request, timeout=3) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


def processes_here() -> int:
    """Number of processes of this run on this machine. All must call it, at the same point."""
    if jax.process_count() == 1:
        return 1
    mine = np.uint32(zlib.crc32(socket.gethostname().encode()))
    return int(np.sum(multihost_utils.process_allgather(mine) == mine))


@contextlib.contextmanager
def connect(required: bool = False, arrival: float = ARRIVAL) -> Iterator[Processes]:
    """Connects this process to the others of its run, if there are any.

    If one of them is lost later, this process ends with a line (`pvn.runs.peers`). At the end it
    waits for all of them.

    Args:
      required: whether it is an error that there is no cluster.
      arrival: seconds within which all processes must arrive; else this process ends with a line.

    Raises:
      UserError: there is no cluster although one is required, or it cannot be joined.
    """
    cluster = find_cluster(os.environ)
    if cluster is None:
        if required:
            raise UserError(
                "--distributed: found no cluster of several processes, expected "
                f"{', '.join(_JAX)}, or a start by srun, by mpirun or on a TPU slice"
            )
        yield Processes(0, 1)
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM from us: until training begins, nothing would end a process.
    jax.config.update("jax_enable_preemption_service", False)
    missing = f"not all processes of this run arrived within {arrival:.0f} s; all must be started"
    timer = threading.Timer(arrival, peers.die, [missing])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            **cluster.arguments,
            initialization_timeout=int(arrival) + 60,
            heartbeat_timeout_seconds=2 * int(peers.SILENCE),
            shutdown_timeout_seconds=_SHUTDOWN,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"cannot join the processes of this run ({cluster.name}): {reason}"
        ) from None
    processes = Processes(jax.process_index(), jax.process_count())
    watch = peers.Peers(_connections(processes, cluster.coordinator, arrival))
    timer.cancel()
    try:
        yield processes
    except UserError:
        raise
    except Exception:  # perhaps of a collective whose other process was lost: the watch says which
        watch.wait_for_loss(2)
        raise
    jax.distributed.shutdown()  # waits for all processes
    watch.close()


def _connections(processes: Processes, coordinator: str, seconds: float) -> dict[int, Any]:
    """The connections of `pvn.runs.peers`; the first process tells the others its addresses.

    Raises:
      UserError: the first process cannot be reached, or not all processes reach it.
    """
    text = np.zeros(1024, np.uint8)
    listener = None
    if processes.is_first:
        listener = peers.open_listener()
        port = listener.getsockname()[1]
        raw = " ".join([str(port), *peers.addresses(coordinator)]).encode()[: len(text)]
        text[: len(raw)] = np.frombuffer(raw, np.uint8)
    received = np.asarray(multihost_utils.broadcast_one_to_all(text))
    port, *hosts = received.tobytes().rstrip(b"\0").decode().split()
    try:
        if listener is not None:
            return peers.listen(listener, processes.size, seconds)
        return peers.connect(hosts, int(port), processes.rank)
    except TimeoutError as error:
        raise UserError(f"cannot watch the processes of this run: {error}") from None
