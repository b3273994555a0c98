"""Texts of programs compiled for an H100, which need not be there.

python -m tests.helpers.programs_for_gpu FOLDER certified: `execute-CONV.txt`, what is
certified of networks with each kind of convolution, and `solve-soc.txt`, the dual of a
curvature head. python -m tests.helpers.programs_for_gpu FOLDER step: `DTYPE.txt`, the
training step.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from experiments.benchmark.inputs import random_data
from experiments.configs import Config
from experiments.parallel.mesh import make_mesh
from experiments.scaling.gpus import gpu_nodes
from experiments.training.trainer import Trainer
from lipjax import LipConvNet, exact_network
from lipjax.certify import Certifier, certifier
from lipjax.certify.images import execute

CONVOLUTIONS = ("soc", "bcop", "cayley", "reflector")
DTYPES = ("bfloat16", "float32")


def steps(devices):
    """The training step of LipConvNet-5, in each dtype."""
    for dtype in DTYPES:
        config = Config(width=32, batch_size=128, dtype=dtype)
        trainer = Trainer(config, random_data(50_000, 32), mesh=make_mesh(1, devices))
        yield dtype, trainer.compiled().as_text()


def certified(devices):
    """What is certified, in float64."""
    for conv in CONVOLUTIONS:
        model = LipConvNet((32, 32, 3), conv=conv, width=8, head="curvature", hidden=64)
        x = np.zeros((1, *model.image_shape), np.float32)
        variables = jax.jit(model.init)(jax.random.key(0), x)
        network = exact_network(model, variables)
        proving = Certifier(network)
        images = np.zeros((100, *model.image_shape))
        with jax.enable_x64(True):
            programs = {"execute": (execute, (network, proving.head, images))}
            if conv == "soc":
                programs["solve"] = (certifier._solve, _dual(proving, images))
            for name, (function, arguments) in programs.items():
                there = jax.tree.map(lambda leaf: _on(devices[0], leaf), arguments)
                yield f"{name}-{conv}", function.lower(*there).compile().as_text()


def _dual(proving, images):
    """Arguments of the dual."""
    network, curvatures = proving.network, proving.curvatures.bounds
    run = jax.eval_shape(execute, network, proving.head, images)
    budget = jax.eval_shape(
        certifier._first_budget, proving.bound, proving.head, curvatures, run, 1.0
    )
    batch = certifier._Batch(network.head, proving.bound, proving.head, run, budget)
    numbers = np.zeros(certifier.DUAL_ROWS, np.int64)
    return batch, curvatures, numbers, numbers


def _on(device, leaf):
    place = SingleDeviceSharding(device)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf), sharding=place)


if __name__ == "__main__":
    wanted = {"certified": certified, "step": steps}[sys.argv[2]]
    for name, text in wanted(gpu_nodes("h100:1x1")):
        (Path(sys.argv[1]) / f"{name}.txt").write_text(text)
