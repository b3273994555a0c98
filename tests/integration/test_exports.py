"""The programs for GPUs and TPUs, lowered on a machine that has neither."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from jax import export
from jax.sharding import AbstractMesh, AxisType

from experiments.benchmark.inputs import random_data
from experiments.configs import Config
from experiments.parallel.mesh import DATA, MODEL
from experiments.parallel.shardings import batch_sharding
from experiments.training.evaluation import Evaluator
from experiments.training.trainer import Trainer
from helpers.networks import small_model
from lipjax import Constants, freeze

ACCELERATORS = ("cuda", "tpu")
HEADS = ("orthogonal", "normalized", "curvature")
LAYERS = 3  # with images of more than a pixel: the first and two stages
DEGREE, EVALUATION_DEGREE = 4, 8  # of the default series


def trainer(head="normalized", mesh=(4, 2), **settings):
    config = Config(depth=3, width=64, head=head, batch_size=16, hidden=8, **settings)
    axes = (AxisType.Auto,) * 2
    return Trainer(
        config,
        random_data(32, 8),
        mesh=AbstractMesh(mesh, (DATA, MODEL), axis_types=axes),
    )


def lowered(program, platforms=ACCELERATORS):
    jitted, arguments = program
    return export.export(jitted, platforms=platforms)(*arguments)


def operations(exported):
    return Counter(re.findall(r"stablehlo\.(\w+)", exported.mlir_module()))


@pytest.mark.parametrize(
    ("head", "dtype", "mesh"),
    [
        pytest.param("orthogonal", "float32", (8, 1), marks=pytest.mark.long),
        pytest.param("normalized", "bfloat16", (8, 1), marks=pytest.mark.long),
        ("curvature", "float32", (4, 2)),
    ],
)
def test_a_training_step_of_eight_devices(head, dtype, mesh):
    found = lowered(trainer(head, mesh, dtype=dtype).program())
    assert found.platforms == ACCELERATORS and found.nr_devices == 8
    text = found.mlir_module()
    assert f'["data"={mesh[0]}, "model"={mesh[1]}]' in text
    assert "winograd.py" not in text
    assert found.out_avals == found.in_avals[: len(found.out_avals)]
    assert found.out_shardings_hlo == found.in_shardings_hlo[: len(found.out_avals)]
    convolved = re.findall(r"stablehlo\.convolution.*-> tensor<[\dx]+x(\w+)>", text)
    assert set(convolved) == {{"float32": "f32", "bfloat16": "bf16"}[dtype]}
    # every layer's series, its transpose for the images, and the kernel's gradient
    assert len(convolved) >= LAYERS * (2 * DEGREE + 1)
    # each parameter's gradient, once and in its own dtype; the loss; correct images
    summed = re.findall(
        r"stablehlo\.all_reduce.*?\}\) : \(tensor<(?:[\dx]+x)?(\w+)>\)", text, re.DOTALL
    )
    params = jax.tree.leaves(trainer(head, mesh, dtype=dtype).abstract_state().params)
    assert Counter(summed) == {"f32": len(params) + 1, "i32": 1}


def test_a_cpu_has_ways_of_its_own():
    """So the test above can fail: what is not for an accelerator is found here."""
    found = lowered(trainer().program(), ("cpu",))
    assert "winograd.py" in found.mlir_module()
    assert operations(found)["convolution"] < LAYERS * (2 * DEGREE + 1)


@pytest.mark.parametrize("head", HEADS)
def test_an_evaluation_of_a_shared_batch(head):
    found = trainer(head)
    evaluator = Evaluator(found.model, 255, mesh=found.mesh)
    variables = found.abstract_state().variables
    constants = jax.eval_shape(evaluator.estimate_constants, variables)
    constants = constants._replace(lipschitz=jnp.float32(1))
    place = batch_sharding(found.mesh)
    images = jax.ShapeDtypeStruct((16, 8, 8, 3), jnp.uint8, sharding=place)
    program = evaluator._predict, (variables, constants, images)
    exported = lowered(program)
    assert exported.platforms == ACCELERATORS and exported.nr_devices == 8
    assert [a.shape for a in exported.out_avals] == [(16,)] * 3
    assert operations(exported)["convolution"] >= LAYERS * EVALUATION_DEGREE


def test_a_frozen_network():
    model, variables = small_model(stages=1)
    frozen = freeze(model, variables, dense_entries=0)
    x = jax.ShapeDtypeStruct((7, 8, 8, 1), jnp.float32)
    constants = Constants(1.0, frozen.pair_constants())

    @jax.jit
    def predict(frozen, x, constants):
        return frozen.predict_with_radius(x, constants=constants)

    found = lowered((predict, (frozen, x, constants)))
    assert found.platforms == ACCELERATORS and found.nr_devices == 1
    assert "winograd.py" not in found.mlir_module()
    assert [a.shape for a in found.out_avals] == [(7,)] * 3
    assert operations(found)["convolution"] >= EVALUATION_DEGREE
    assert operations(found)["dot_general"] >= 1
