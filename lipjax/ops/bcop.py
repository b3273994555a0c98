"""Block convolution of orthogonal matrices (BCOP): a k x k kernel that never expands.

A symmetric projector P gives the filter P + (I - P) z of two taps, z a shift by one
pixel. Its symbol is unitary: an eigenvalue lambda of P becomes lambda + (1 - lambda) z.
For lambda in [0, 1] that is a mean of 1 and z, of size at most 1 also when lambda is
not 0 or 1. Products of such filters along both axes, times an orthogonal matrix, are
the kernel. This is why no bound below depends on how well the iteration converged.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lipjax.ops.circular import largest_entry_one
from lipjax.ops.contraction import contract

BJORCK_STEPS = 20
"""Enough for singular values of 1e-3 of the bound: a step multiplies small ones by 1.5,
and squares the distance to 1 of those close to it."""


def bjorck(matrices: jax.Array, steps: int = BJORCK_STEPS) -> jax.Array:
    r"""The nearest orthogonal matrices, by Bjorck's iteration of first order.

    .. math:: W \leftarrow \tfrac32 W - \tfrac12 W W^\top W

    starting from each matrix divided by the bound max_i sum_j |W^T W|_ij of its squared
    norm, which is the norm itself for a multiple of an orthogonal matrix. The published
    code divides by an estimate of the norm that is drawn at random.

    Args:
      matrices: square matrices of shape [n, c, c].
      steps: of the iteration.

    Returns:
      Array of shape [n, c, c]. A zero matrix stays zero. Gradients take the scale as a
      constant: the limit does not depend on it.

    Guarantee: singular values in [0, 1] for all matrices and any number of steps, in
    exact arithmetic; they tend to 1 where the matrix is invertible.

    References: Bjorck & Bowie, SIAM J. Numer. Anal. 1971; Anil, Lucas & Grosse, ICML
    2019.

    Example:
      >>> bjorck(jnp.array([[[0.0, 2.0], [3.0, 0.0]]])).round(4)
      Array([[[0., 1.],
              [1., 0.]]], dtype=float32)
    """
    scaled = jax.vmap(largest_entry_one)(matrices)
    rows = jnp.sum(jnp.abs(contract("nki,nkj->nij", scaled, scaled)), axis=2)
    squared = jax.lax.stop_gradient(jnp.max(rows, axis=1))
    norm = jnp.sqrt(jnp.where(squared > 0, squared, jnp.ones_like(squared)))

    def step(w, _):
        gram = contract("nki,nkj->nij", w, w)
        return 1.5 * w - 0.5 * contract("nij,njk->nik", w, gram), None

    return jax.lax.scan(step, scaled / norm[:, None, None], length=steps)[0]


def bcop_kernel(matrices: jax.Array, c_in: int, c_out: int) -> jax.Array:
    r"""The kernel of a block convolution of orthogonal matrices.

    .. math:: K = H \ast A(P_1) \ast B(P_2) \ast A(P_3) \ast \dots, \quad
              A(P) = [P, I - P], \quad B(P) = A(P)^\top

    along the columns and the rows in turn, with H the first of the matrices made
    orthogonal and P_n = Q Q^T, Q the first half of the columns of another. With fewer
    channels in than out, H loses rows; with more, the transposed product is taken.

    Args:
      matrices: of shape [2 k - 1, c, c], c = max(c_in, c_out); any numbers.
      c_in: channels in.
      c_out: channels out.

    Returns:
      Array of shape [k, k, c_in, c_out].

    Raises:
      ValueError: for matrices of another shape.

    Guarantee: the circular convolution by it does not expand, on images of any size, in
    exact arithmetic. Where `bjorck` converged it is orthogonal if c_in = c_out, and
    else has orthonormal rows or columns.

    References: Li et al., NeurIPS 2019, section 4; Xiao et al., ICML 2018.

    Example:
      >>> matrices = jax.random.normal(jax.random.key(0), (5, 4, 4))
      >>> kernel = bcop_kernel(matrices, 4, 4)
      >>> kernel.shape, f"{jnp.linalg.norm(kernel):.3f}"
      ((3, 3, 4, 4), '2.000')
    """
    channels = max(c_in, c_out)
    if matrices.shape[1:] != (channels, channels) or len(matrices) % 2 == 0:
        raise ValueError(
            f"matrices must be [2 k - 1, {channels}, {channels}] for {c_in} channels "
            f"in and {c_out} out: {matrices.shape}"
        )
    orthogonal = bjorck(matrices)
    first, columns = orthogonal[0], orthogonal[1:, :, : channels // 2]
    kernel = (first.T[:c_out] if c_in > c_out else first[:c_in])[None, None]
    projectors = contract("nab,ncb->nac", columns, columns)
    for n in range(len(projectors)):
        kernel = _times(kernel, projectors[n], axis=(n + 1) % 2)
    return kernel.swapaxes(2, 3) if c_in > c_out else kernel


def _times(kernel: jax.Array, projector: jax.Array, axis: int) -> jax.Array:
    """A kernel [h, w, a, c] times P + (I - P) z, one tap longer along an axis."""
    kept = contract("hwab,bc->hwac", kernel, projector)
    moved = kernel - kept
    tap = jnp.zeros_like(kept[:1] if axis == 0 else kept[:, :1])
    return jnp.concatenate([kept, tap], axis) + jnp.concatenate([tap, moved], axis)
