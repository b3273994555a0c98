"""Twenty steps on meshes of eight devices.

    python -m helpers.eight_devices HEAD MESH ...

Prints a JSON object: per mesh the largest differences from one device.
"""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from experiments.configs import Config
from experiments.data import Dataset, Split
from experiments.parallel.mesh import DATA, MODEL
from experiments.training.model import build
from experiments.training.state import zero_metrics
from experiments.training.trainer import Trainer

STEPS = 20
MESHES = {  # shape of data and model axes, accumulation
    "2x2/2": ((2, 2), 2),
    "1x2": ((1, 2), 1),
    "8x1": ((8, 1), 1),
    "4x2/2": ((4, 2), 2),
    "2x4": ((2, 4), 1),
    "1x8": ((1, 8), 1),
    "1x1/4": ((1, 1), 4),
}


def made():
    """Ten batches of images of 8x8 pixels in 5 classes."""
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(320, 8, 8, 1), dtype=np.uint8)
    train = Split(images, draw.integers(5, size=320).astype(np.int32))
    none = Split(images[:0], train.labels[:0])
    return Dataset("made", train, none, train, tuple("abcde"), 255, True, 1)


def trained(config, data, shape, accumulate):
    """TrainState after the steps, and the loss of each."""
    model = build(config, data).clone(param_dtype=jnp.float64)
    devices = np.array(jax.devices()[: shape[0] * shape[1]]).reshape(shape)
    mesh = Mesh(devices, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)
    trainer = Trainer(config, data, model, mesh=mesh, accumulate=accumulate)
    state, metrics, losses = trainer.init(), zero_metrics(trainer.mesh), []
    for _ in range(STEPS):
        state, metrics = trainer.steps(state, metrics, 1)
        losses.append(float(metrics.loss))
    return state, losses


def difference(ours, theirs):
    """Largest difference of two trees, relative to the largest number of a leaf."""

    def one(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))

    return max(jax.tree.leaves(jax.tree.map(one, ours, theirs)))


def shared_out(state):
    """Names of the parameters of which no device has all."""
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in leaves
        if not leaf.sharding.is_fully_replicated
    ]


def copies_agree(state):
    """Whether what every device has a copy of is the same on each, to the bit."""
    same = []
    for leaf in jax.tree.leaves(state.spectral):
        parts = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        same.append(all(np.array_equal(part, parts[0]) for part in parts))
    return all(same)


def main(head, meshes):
    config = Config(
        depth=3,
        width=16,
        head=head,
        hidden=64,
        batch_size=32,
        epochs=10,
        curvature_penalty=0.1 if head == "curvature" else 0.0,
        clip_norm=1.0 if head == "curvature" else 0.0,
    )
    config = dataclasses.replace(config, dtype="float64")
    data, results = made(), {}
    alone, losses = trained(config, data, (1, 1), 1)
    for name in meshes:
        shape, accumulate = MESHES[name]
        state, found = trained(config, data, shape, accumulate)
        results[name] = {
            "state": difference(state, alone),
            "loss": difference(found, losses),
            "shared out": shared_out(state),
            "copies agree": copies_agree(state),
        }
    moved = difference(alone.params, Trainer(config, data).init().params)
    print(json.dumps(results | {"moved": moved}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
