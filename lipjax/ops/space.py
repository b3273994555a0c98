"""Linear isometries between shapes: pixels into channels, and zero channels."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def space_to_depth(x: jax.Array, block: int) -> jax.Array:
    """Moves each block of pixels into the channels, an isometry.

    Output channel c * block^2 + i * block + j is channel c of the block's pixel (i, j).

    Args:
      x: input of shape [..., height, width, channels].
      block: side of the blocks.

    Returns:
      Array of shape [..., height / block, width / block, channels * block^2].

    Raises:
      ValueError: if the block does not divide height and width.

    Example:
      >>> space_to_depth(jnp.arange(4.0).reshape(2, 2, 1), 2)
      Array([[[0., 1., 2., 3.]]], dtype=float32)
    """
    *batch, height, width, channels = x.shape
    if height % block or width % block:
        raise ValueError(f"{block} does not divide an image of {height}x{width}")
    rows, columns = height // block, width // block
    n = len(batch)
    x = x.reshape(*batch, rows, block, columns, block, channels)
    x = x.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return x.reshape(*batch, rows, columns, channels * block**2)


def with_channels(x: jax.Array, channels: int) -> jax.Array:
    """Appends zero channels, or drops the last ones, up to the number `channels`.

    Args:
      x: input of shape [..., c].
      channels: how many channels to return.

    Returns:
      Array of shape [..., channels].

    Guarantee: 1-Lipschitz; an isometry if channels >= c.

    Example:
      >>> with_channels(jnp.array([1.0, 2.0]), 3)
      Array([1., 2., 0.], dtype=float32)
    """
    missing = channels - x.shape[-1]
    if missing <= 0:
        return x[..., :channels]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
