"""Which environment means which cluster. (Real processes: tests/test_processes.py.)"""

import http.server
import threading
from typing import Any

import numpy as np
import pytest

from pvn.errors import UserError
from pvn.runs.cluster import Cluster, Processes, _tpu_hosts, connect, find_cluster, processes_here

JAX = {
    "JAX_COORDINATOR_ADDRESS": "node1:99",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}
EXPLICIT = {
    "coordinator_address": "node1:99",
    "num_processes": 2,
    "process_id": 1,
    "cluster_detection_method": "deactivate",
}
OMPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}


@pytest.mark.parametrize(
    ("environment", "cluster"),
    [
        ({}, None),
        (JAX, Cluster("jax", EXPLICIT, "node1")),
        ({**JAX, "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
        ({"JAX_COORDINATOR_ADDRESS": "node1:99"}, None),
        # A batch script, or one of the single tasks of a sweep.
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "1"}, None),
        (
            {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
            Cluster("slurm", {"cluster_detection_method": "slurm"}),
        ),
        (  # a task of a whole node has all its GPUs
            {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"},
            Cluster("slurm", {"cluster_detection_method": "slurm", "local_device_ids": []}),
        ),
        (
            {**OMPI, "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:3"},
            Cluster("ompi", {"cluster_detection_method": "ompi"}),
        ),
        ({**OMPI, "JAX_COORDINATOR_ADDRESS": "node1:99"}, Cluster("ompi", EXPLICIT, "node1")),
        ({"TPU_WORKER_HOSTNAMES": "one"}, None),
        ({"TPU_WORKER_HOSTNAMES": "one,two"}, Cluster("tpu", {})),
    ],
)
def test_what_is_found(environment: dict[str, str], cluster: Cluster | None) -> None:
    assert find_cluster(environment) == cluster


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {**JAX, "JAX_PROCESS_ID": "2"},
            "JAX_PROCESS_ID=2: expected 0 to 1, of 2 processes",
        ),
        (
            {key: value for key, value in JAX.items() if key != "JAX_PROCESS_ID"},
            "JAX_PROCESS_ID: is not set, but JAX_NUM_PROCESSES is; expected "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID",
        ),
        ({**JAX, "JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two: expected a whole number"),
        (
            {**JAX, "JAX_COORDINATOR_ADDRESS": "node1"},
            "JAX_COORDINATOR_ADDRESS=node1: expected host:port, as in node1:12345",
        ),
        (
            OMPI,
            "OMPI_COMM_WORLD_SIZE: this Open MPI does not say where the first process is; set "
            "JAX_COORDINATOR_ADDRESS to its host and a free port, as in node1:12345",
        ),
    ],
)
def test_what_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        find_cluster(environment)
    assert str(caught.value) == message


def test_the_hosts_of_a_tpu_slice_come_from_its_metadata() -> None:
    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.endswith("/attributes/worker-network-endpoints")
            self.send_response(200 if known and self.headers["Metadata-Flavor"] else 404)
            self.end_headers()
            self.wfile.write(b"10.0.0.1,10.0.0.2")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        place = {"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"}
        assert _tpu_hosts(place) == "10.0.0.1,10.0.0.2"
        thread.join()
    assert _tpu_hosts(place) == ""  # nobody answers
    assert _tpu_hosts({**place, "TPU_SKIP_MDS_QUERY": "1"}) == ""


def test_processes_of_this_machine_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes_here() == 1
    monkeypatch.setattr("jax.process_count", lambda: 3)
    monkeypatch.setattr(
        "jax.experimental.multihost_utils.process_allgather",
        lambda mine: np.array([mine, mine, mine + 1]),
    )
    assert processes_here() == 2


def test_without_a_cluster_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in JAX:
        monkeypatch.delenv(name, raising=False)
    with connect() as processes:
        assert processes == Processes(0, 1)
        assert processes.is_first
    line = "^--distributed: found no cluster of several processes, expected JAX_COORDINATOR_ADDRES"
    with pytest.raises(UserError, match=line), connect(required=True):
        pass
