"""The rate of the machine's best square matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

_REPEATS = 5


def best_rate(products: Iterable[Callable[[], object]], size: int) -> float:
    """Multiply-adds a second of the fastest of some products.

    Args:
      products: each computes one product of square matrices and waits for it.
      size: side of the matrices.
    """
    return size**3 / min(map(_fastest_seconds, products))


def jax_product(dtype: str, size: int) -> Callable[[], object]:
    """A product by JAX; of float32 numbers in full precision, as lipjax's are."""
    matrix = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(dtype))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    return lambda: jax.block_until_ready(product(matrix))


def _fastest_seconds(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
