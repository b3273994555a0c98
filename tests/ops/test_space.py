"""Isometries between shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import golden
from helpers.dense import jacobian, normal
from lipjax.ops import space_to_depth, with_channels


@pytest.mark.parametrize("block", [1, 2, 3])
def test_space_to_depth_by_definition(block):
    x = normal(0, 2, 2 * block, 3 * block, 2)
    y = space_to_depth(x, block)
    assert y.shape == (2, 2, 3, 2 * block**2)
    for n, i, j, c in np.ndindex(x.shape):
        channel = c * block**2 + i % block * block + j % block
        assert y[n, i // block, j // block, channel] == x[n, i, j, c]


def test_space_to_depth_is_a_permutation():
    dense = jacobian(lambda x: space_to_depth(x, 2), normal(0, 4, 2, 3))
    np.testing.assert_array_equal(dense @ dense.T, np.eye(24))


def test_published_channel_order(shared):
    """The golden strided layer fails under the other order of a block's pixels."""
    arrays = golden.load(shared("golden/soc_stride2_k1.npz"))
    x, variables = golden.nhwc(arrays["x"]), golden.soc_variables(arrays)
    kernel = golden.hwio(arrays["skew_filter"])[0, 0]
    expected = golden.nhwc(arrays["y_eval"]) - variables["params"]["bias"]

    def error(x):
        z = np.asarray(space_to_depth(x, 2))
        y = sum(
            np.linalg.matrix_power(kernel, n) / jax.scipy.special.factorial(float(n))
            for n in range(15)
        )
        return np.abs(z @ np.asarray(y) - expected).max()

    assert error(x) <= golden.FLOAT32
    assert error(x.swapaxes(1, 2)) > 0.1


def test_with_channels():
    x = jnp.asarray(normal(0, 2, 3))
    np.testing.assert_array_equal(with_channels(x, 2), x[:, :2])
    np.testing.assert_array_equal(with_channels(x, 3), x)
    wide = with_channels(x, 5)
    assert wide.shape == (2, 5)
    np.testing.assert_array_equal(wide[:, :3], x)
    assert not wide[:, 3:].any()


def test_bad_block():
    for shape in [(3, 4, 1), (4, 3, 1)]:
        with pytest.raises(ValueError, match="does not divide"):
            space_to_depth(jnp.zeros(shape), 2)
