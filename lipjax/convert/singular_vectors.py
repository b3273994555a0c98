"""The singular vectors of four published unfoldings, from those of our two, and back.

The published convolution keeps vectors (u, v) for each of four unfoldings of its skew
kernel. By skewness only two of them differ, up to signs and order: unfoldings 2 and 4
are the transposes of 1 and 3. Their u and v swap, the taps are flipped, and one vector
changes its sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

VECTORS = ("u1", "v1", "u2", "v2", "u3", "v3", "u4", "v4")

UV = tuple[np.ndarray, np.ndarray]


def our_vectors(
    published: Mapping[str, np.ndarray],
) -> tuple[tuple[UV, UV], tuple[UV, UV]]:
    """The published vectors as candidates for the square and the tall unfolding.

    Args:
      published: u1, v1 ... u4, v4 with the published shapes, of a skew kernel.

    Returns:
      (((u1, v1), (u2, v2)), ((u3, v3), (u4, v4))), each (u, v) of our unfolding.
    """
    u1, v1, u2, v2, u3, v3, u4, v4 = (published[n] for n in VECTORS)
    square = (
        (u1[0, :, 0].T.ravel(), v1[:, 0, :, 0].T),
        (np.flip(v2, 3)[:, 0, 0].T.ravel(), -np.flip(u2, 2)[0, :, :, 0].T),
    )
    tall = (
        (u3[0].transpose(1, 2, 0).ravel(), v3.reshape(1, -1)),
        (-np.flip(u4, (2, 3))[:, 0].transpose(1, 2, 0).ravel(), v4.reshape(1, -1)),
    )
    return square, tall


def published_vectors(
    vectors: Any, kernel_size: int, channels: int
) -> dict[str, np.ndarray]:
    """The published vectors from which `our_vectors` makes ours, each twice.

    All four published estimates are thus one of our two, and the smallest of them,
    which is the scale, is ours.

    Args:
      vectors: (u, v) of the square and of the tall unfolding.
      kernel_size: k.
      channels: c.

    Returns:
      u1, v1 ... u4, v4 with the published shapes.

    Example:
      >>> square = (np.arange(6), np.arange(6).reshape(3, 2))
      >>> tall = (np.arange(18), np.arange(2).reshape(1, 2))
      >>> theirs = published_vectors((square, tall), 3, 2)
      >>> [u.tolist() for u, _ in our_vectors(theirs)[0]]
      [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    """
    k, c = kernel_size, channels
    (columns, rows), (taps, outputs) = (map(np.asarray, uv) for uv in vectors)
    columns, rows = columns.reshape(k, c).T, rows.T
    taps = taps.reshape(k, k, c).transpose(2, 0, 1)
    return {
        "u1": columns.reshape(1, c, 1, k),
        "v1": rows.reshape(c, 1, k, 1),
        "u2": -np.flip(rows.reshape(1, c, k, 1), 2),
        "v2": np.flip(columns.reshape(c, 1, 1, k), 3),
        "u3": taps.reshape(1, c, k, k),
        "v3": outputs.reshape(c, 1, 1, 1),
        "u4": -np.flip(taps.reshape(c, 1, k, k), (2, 3)),
        "v4": outputs.reshape(1, c, 1, 1),
    }
