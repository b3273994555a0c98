"""Training steps compiled for 64 TPUs by libtpu, which takes minutes and no TPU."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import jax
import pytest
from jax.sharding import AbstractMesh, AxisType

from experiments.benchmark.inputs import random_data
from experiments.configs import Config
from experiments.parallel.mesh import DATA, MODEL
from experiments.training.trainer import Trainer
from helpers.compilers import installed, required
from helpers.programs import program

BATCH = 4096
HEADS = ("orthogonal", "normalized", "curvature")
MEMORY = 16e9  # of a v5e, by its maker
PADDING = 0.03  # of the arguments, which lie in tiles of 8 x 128

pytestmark = pytest.mark.long


@pytest.fixture(scope="session")
def libtpu(pytestconfig):
    """The folder of the compiler for TPUs."""
    found = importlib.util.find_spec("libtpu")
    if found and found.origin:
        return Path(found.origin).parents[1]
    return installed(pytestconfig, required("libtpu"), alone=True)


def compiled(libtpu, folder, depth, head, model_parallel=1):
    """The program's report of a step on 64 chips."""
    out = folder / "scaling.json"
    result = program(
        "scaling",
        *("--topology=v5e:8x8", f"--depth={depth}", f"--head={head}"),
        *(f"--batch_size={BATCH}", f"--model_parallel={model_parallel}"),
        f"--out={out}",
        timeout=3000,
        PYTHONPATH=str(libtpu),
    )
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["where"] == "TPU v5 lite"
    return row


def described(depth, head, model_parallel=1):
    """Shapes of the parameters, and bytes of the step's arguments on each device."""
    config = Config(depth=depth, head=head, batch_size=BATCH, dtype="bfloat16")
    shape = (64 // model_parallel, model_parallel)
    mesh: Any = AbstractMesh(shape, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)
    trainer = Trainer(config, random_data(50_000, 32), mesh=mesh)
    *arguments, _ = trainer.program()[1]
    shares = [
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(arguments)
    ]
    return trainer.abstract_state().params, sum(shares)


def gradient(params):
    """Bytes of the gradient, which is float32 whatever the dtype of the computation."""
    return 4 * sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("depth", [5, 40])
def test_copies_of_the_network_share_the_images(libtpu, tmp_path, depth, head):
    row = compiled(libtpu, tmp_path, depth, head)
    params, arguments = described(depth, head)
    assert (row["data"], row["model"], row["batch"]) == (64, 1, BATCH)
    sent = row["collectives"]
    assert {(one["kind"], one["group_size"]) for one in sent} == {("all-reduce", 64)}
    # 8 bytes beside the gradient: the loss and the number of correct images
    assert sum(one["bytes"] for one in sent) == gradient(params) + 8
    assert arguments <= row["arguments"] <= (1 + PADDING) * arguments
    assert row["peak"] <= row["arguments"] + row["temporaries"] + 2**20
    assert row["peak"] < MEMORY / 4


@pytest.mark.parametrize(("depth", "head"), [(5, "curvature"), (40, "normalized")])
def test_groups_of_four_share_wide_layers(libtpu, tmp_path, depth, head):
    row = compiled(libtpu, tmp_path, depth, head, model_parallel=4)
    params, arguments = described(depth, head, model_parallel=4)
    assert (row["data"], row["model"], row["batch"]) == (16, 4, BATCH)
    assert arguments <= row["arguments"] <= (1 + PADDING) * arguments
    assert arguments < described(depth, head)[1]
    assert row["peak"] < MEMORY / 4
    # copies of the network exchange only their shares of the gradient
    across = [one for one in row["collectives"] if one["group_size"] >= 16]
    assert {one["kind"] for one in across} == {"all-reduce"}
    assert sum(one["bytes"] for one in across) < gradient(params)
