"""launch/gke: its manifests against the published schema of JobSet, and what they say."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests" / "fixtures" / "jobset_v1alpha2.json"
WORKDIR = "--workdir=gs://bucket/runs/pong"


def _submit(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "launch/gke/submit.sh", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def _manifest(*arguments: str, **variables: str) -> dict[str, Any]:
    result = _submit("--dry_run", *arguments, IMAGE="registry/pvn:1", **variables)
    assert result.returncode == 0, result.stderr
    assert "${" not in result.stdout.partition("apiVersion")[2]
    return yaml.safe_load(result.stdout)


def _closed(node: Any) -> Any:
    """A schema that refuses fields that it does not name, as a strict API server does."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _closed(value) for key, value in node.items()}
    if node.get("type") == "object" and isinstance(node.get("properties"), dict):
        node.setdefault("additionalProperties", False)
    return node


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(_closed(json.loads(SCHEMA.read_text())))


def _hosts(manifest: dict[str, Any]) -> Any:
    (job,) = manifest["spec"]["replicatedJobs"]
    return job["template"]["spec"]


@pytest.mark.parametrize("accelerator", ["tpu", "gpu"])
def test_manifests_are_valid(validator: jsonschema.Draft7Validator, accelerator: str) -> None:
    manifest = _manifest(accelerator, WORKDIR)
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    validator.validate(manifest)
    # The validator sees misspelled fields, here of a container and of the failure policy.
    container = _hosts(manifest)["template"]["spec"]["containers"][0]
    container["arguments"] = container.pop("args")
    manifest["spec"]["failurePolicy"]["rules"][0]["action"] = "Restart"
    assert len(list(validator.iter_errors(manifest))) == 2


def test_what_a_tpu_manifest_says() -> None:
    manifest = _manifest(
        "tpu", "--config.dataset=gs://b/it's", WORKDIR, r'--x=a "b" \c $HOME &', NAME="run-1",
        TPU_TYPE="tpu-v6e-slice", TPU_TOPOLOGY="4x4", CHIPS_PER_HOST="4",
    )  # fmt: skip
    job = _hosts(manifest)
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (4, 4, 0)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    (container,) = pod["containers"]
    assert container["image"] == "registry/pvn:1"
    assert container["command"] == ["python", "-m", "pvn.pretrain", "--arrival_seconds=900"]
    assert container["args"] == [
        "--config.dataset=gs://b/it's",
        WORKDIR,
        r'--x=a "b" \c $HOME &',
    ]
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values == {
        "JAX_COORDINATOR_ADDRESS": "run-1-hosts-0-0.run-1:8476",
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": None,  # the index of the pod
    }


def test_a_tpu_slice_has_the_hosts_of_its_topology() -> None:
    for topology, chips, hosts in (("2x4", "4", 2), ("1x1", "1", 1), ("4x4x8", "4", 32)):
        manifest = _manifest("tpu", WORKDIR, TPU_TOPOLOGY=topology, CHIPS_PER_HOST=chips)
        assert _hosts(manifest)["completions"] == hosts


def test_what_a_gpu_manifest_says() -> None:
    manifest = _manifest("gpu", WORKDIR, GPU_TYPE="nvidia-h100-80gb", GPUS_PER_HOST="8")
    pod = _hosts(manifest)["template"]["spec"]
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    assert pod["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": 8}}


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ([], {}, "expected launch/gke/submit.sh [--dry_run] tpu|gpu FLAGS"),
        (["cpu", WORKDIR], {}, "expected launch/gke/submit.sh [--dry_run] tpu|gpu FLAGS"),
        (["tpu", WORKDIR], {"IMAGE": ""}, "IMAGE: not set, expected the image that you made"),
        (["tpu", "--workdir=runs/a"], {}, "--workdir: expected a folder on gs://"),
        (["gpu", WORKDIR], {"NUM_HOSTS": "four"}, "NUM_HOSTS=four: expected a whole number"),
        (["tpu", WORKDIR], {"NUM_HOSTS": "1"}, "NUM_HOSTS=1: expected 4, from TPU_TOPOLOGY"),
        (["tpu", WORKDIR], {"CHIPS_PER_HOST": "5"}, "CHIPS_PER_HOST=5: does not divide the 16 ch"),
        (["tpu", WORKDIR], {"TPU_TOPOLOGY": "16"}, "TPU_TOPOLOGY=16: expected numbers of chips"),
        (["gpu", WORKDIR], {"NUM_HOSTS": "0"}, "NUM_HOSTS=0: expected a whole number, 1 or more"),
        (["gpu", WORKDIR, "--dry_run=true"], {}, "--dry_run: comes first, to print the manifest"),
    ],
)
def test_bad_input(arguments: list[str], variables: dict[str, str], message: str) -> None:
    result = _submit("--dry_run", *arguments, **({"IMAGE": "i"} | variables))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
