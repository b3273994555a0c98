"""Claims of shapes and dtypes: how a function registers those of its namesake."""

from typing import NamedTuple

import beartype
import jax
import jax.numpy as jnp
import jaxtyping
from hypothesis import strategies as st

CLAIMS = {}  # by name: the annotated function, and what makes its arguments


class Sizes(NamedTuple):
    """Sizes of all axes; letters as in the docstrings."""

    batch: tuple[int, ...]
    n: int
    h: int
    w: int
    c: int  # half the channels where they must be even
    k: int
    C: int
    D: int
    H: int


SIZES = st.builds(
    Sizes,
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    *(st.integers(1, 5) for _ in "nhwc"),
    st.sampled_from([1, 3, 5]),
    st.integers(2, 5),
    *(st.integers(1, 5) for _ in "DH"),
)


class Drawn:
    """Abstract arrays: a call gives one of floats, `int_` one of integers."""

    def __init__(self, dtype):
        self.dtype = dtype

    def __call__(self, *shape):
        return jax.ShapeDtypeStruct(shape, self.dtype)

    def int_(self, *shape):
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    def key(self):
        return jax.eval_shape(lambda: jax.random.key(0))


def claim(arguments):
    """The decorated function states the shapes of its namesake.

    Args:
      arguments: from `Drawn` and `Sizes` to the function's arguments.
    """

    def register(function):
        checked = jaxtyping.jaxtyped(function, typechecker=beartype.beartype)
        CLAIMS[function.__name__] = checked, arguments
        return checked

    return register
