"""Shardings of arrays on a mesh: replicated, or a part on each device."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .mesh import DATA, MODEL

_WIDE = 256
"""Output channels from which a kernel is split among devices."""

_HIDDEN = {
    "hidden_kernel": PartitionSpec(None, MODEL),
    "hidden_bias": PartitionSpec(MODEL),
    "output_kernel": PartitionSpec(MODEL, None),
}
"""The curvature head's parameters, split by hidden units."""


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Shares of the first axis over the data axis of the mesh."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def state_shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of each leaf of a training state, by its name and shape.

    The optimiser's copies of the parameters have the same names and shardings. Singular
    vectors are replicated.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(path, leaf.shape, mesh)), tree
    )


def _spec(path: tuple[Any, ...], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    name = getattr(path[-1], "key", None) if path else None
    if name in _HIDDEN:
        spec = _HIDDEN[name]
    elif name == "kernel" and len(shape) == 4 and shape[-1] >= _WIDE:
        spec = PartitionSpec(None, None, None, MODEL)
    else:
        return PartitionSpec()
    shared = shape[spec.index(MODEL)]
    return spec if shared % mesh.shape[MODEL] == 0 else PartitionSpec()


def put(tree: Any, shardings: Any) -> Any:
    """Puts arrays that every host holds on the devices.

    Args:
      tree: arrays of NumPy, or of JAX on this host.
      shardings: one sharding for all leaves, or a tree of them.
    """
    if isinstance(shardings, NamedSharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)
    return jax.tree.map(_put_share, tree, shardings)


def _put_share(leaf: Any, sharding: NamedSharding) -> jax.Array:
    array = np.asarray(leaf)
    return jax.make_array_from_callback(array.shape, sharding, lambda i: array[i])


def local_rows(place: NamedSharding, size: int) -> np.ndarray:
    """Indices of the rows, of `size`, that this process's devices hold; ascending."""
    parts = place.addressable_devices_indices_map((size,)).values()
    held = [np.arange(*part[0].indices(size)) for part in parts if part]
    return np.unique(np.concatenate(held))


def put_rows(local: np.ndarray, place: NamedSharding, size: int) -> jax.Array:
    """The array of `size` rows; each process passes those of `local_rows`."""
    held = local_rows(place, size)

    def part(index: Any) -> np.ndarray:
        first, last, _ = index[0].indices(size)
        start = int(np.searchsorted(held, first))
        return local[start : start + last - first]

    return jax.make_array_from_callback((size, *local.shape[1:]), place, part)


def to_host(tree: Any, mesh: Mesh) -> Any:
    """A copy of every leaf on this host. All hosts must call it."""
    copy = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))
    return jax.tree.map(np.asarray, copy(tree))
