"""Training steps compiled for H100s, which takes minutes and no GPU."""

import json
import os
from importlib.metadata import version

import pytest

from helpers.compilers import installed
from helpers.programs import program

pytestmark = pytest.mark.long


@pytest.fixture(scope="session")
def cuda(pytestconfig):
    """The folder of the compiler for GPUs."""
    return installed(pytestconfig, f"jax[cuda13]=={version('jax')}")


def compiled(cuda, folder, topology, *flags):
    """The program's report of a step with 128 images a device."""
    out = folder / "scaling.json"
    result = program(
        "scaling",
        *(f"--topology={topology}", "--images=128", *flags, f"--out={out}"),
        timeout=3000,
        PYTHONPATH=os.pathsep.join([str(cuda), os.environ.get("PYTHONPATH", "")]),
        CUDA_VISIBLE_DEVICES="",
    )
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["where"] == "NVIDIA H100 80GB HBM3"
    return row


# At most what docs/performance.md says, and a little for another version of XLA.
@pytest.mark.parametrize(
    ("flags", "kernels", "gigabytes"),
    [
        ((), 300, 2.2),
        (("--dtype=float32",), 300, 3.7),
        (("--depth=15", "--head=curvature"), 750, 5.2),
    ],
)
def test_kernels_and_bytes(cuda, tmp_path, flags, kernels, gigabytes):
    row = compiled(cuda, tmp_path, "h100:1x1", *flags)
    assert row["collectives"] == []
    assert sum(one["number"] for one in row["kernels"]) <= kernels
    assert sum(one["bytes"] for one in row["kernels"]) <= 1e9 * gigabytes
    kinds = {one["kind"] for one in row["kernels"]}
    assert {"convolution", "gradient of a kernel", "sum"} <= kinds
    assert 0 < row["roofline"] < 0.1


def test_eight_gpus_sum_their_gradients_in_three_messages(cuda, tmp_path):
    row = compiled(cuda, tmp_path, "h100:1x8")
    assert (row["data"], row["model"], row["batch"]) == (8, 1, 1024)
    sent = row["collectives"]
    assert {(one["kind"], one["group_size"]) for one in sent} == {("all-reduce", 8)}
    assert sum(one["number"] for one in sent) <= 3
