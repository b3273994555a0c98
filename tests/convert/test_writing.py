"""State dicts that the published code takes: our weights, bit for bit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import golden
from helpers.dense import side_by_side
from helpers.registry import drawn
from lipjax import LipConvNet, ops
from lipjax.convert import NAMES, from_torch, published_names, to_torch
from lipjax.convert.singular_vectors import our_vectors, published_vectors
from lipjax.nn import MaxMin


@pytest.fixture(params=sorted(golden.NETWORKS))
def published(request, shared):
    """The state dict of a golden network, and the names to read it with."""
    with np.load(shared(f"golden/lipconvnet_{request.param}.npz")) as file:
        state = golden.published_state(dict(file))
    return state, golden.published_names(request.param)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_a_published_state_comes_back(published):
    """All entries but half of the vectors; of those, the kept ones."""
    state, names = published
    model, variables = from_torch(state, **names)
    assert published_names(model) == names
    back = to_torch(model, variables)
    assert set(back) == set(state)
    changed = {name for name in state if not same_bits(state[name], back[name])}
    prefixes = {n.removesuffix("_u1") for n in state if n.endswith("_u1")}
    for prefix in prefixes:
        due, found = golden.estimates(state, prefix), golden.estimates(back, prefix)
        for first in (0, 2):
            kept = min((first, first + 1), key=lambda n: due[n])
            vectors = [f"{prefix}_{side}{kept + 1}" for side in "uv"]
            assert not changed & set(vectors)
        # one float32 dot product of at most 2304 terms, summed in another order
        assert min(found) == pytest.approx(min(due), rel=1e-5)
        changed -= {f"{prefix}_{side}{n}" for side in "uv" for n in range(1, 5)}
    assert not changed


def test_what_comes_back_is_read_as_the_same(published):
    state, names = published
    model, variables = from_torch(state, **names)
    again, same = from_torch(to_torch(model, variables), **names)
    assert again == model
    chex.assert_trees_all_equal(same, variables, strict=True)


SHAPES = {
    "square": {},
    "deep": {"layers_per_stage": 2},
    "wide": {"image_shape": (16, 16, 1), "mean": (0.25,), "std": (0.5,)},
    "k5": {"kernel_size": 5},
    "one-stage": {"stages": 1, "layers_per_stage": 2},
}
KINDS = [
    *(("normalized", "projection", kind, "square") for kind in NAMES["activation"]),
    *((head, "max", "hh1", "deep") for head in NAMES["head"].values()),
    *((head, "projection", "hh2", "wide") for head in NAMES["head"].values()),
    ("curvature", "max", "maxmin", "k5"),
    ("orthogonal", "max", "hh2", "k5"),
    ("normalized", "projection", "hh2", "one-stage"),
]


def small(head="normalized", pooling="max", activation="maxmin", shape="square", **new):
    """A small network and variables drawn by NumPy."""
    settings = {
        "image_shape": (4, 4, 3),
        "stages": 2,
        "mean": (0.25, 0.5, 0.75),
        "std": (0.25, 0.5, 1.0),
        **SHAPES[shape],
        **new,
    }
    if head == "curvature":
        settings.setdefault("hidden", 6)
    model = LipConvNet(
        num_classes=3,
        width=2,
        head=head,
        pooling=pooling,
        activation=NAMES["activation"].get(activation, activation),
        **settings,
    )
    return model, drawn(model, jnp.zeros((1, *model.image_shape)))


CASES = [*((kind, False) for kind in KINDS), *((kind, True) for kind in KINDS[2::4])]


@pytest.mark.parametrize("kind, double", CASES)
def test_every_kind_of_network_comes_back(kind, double):
    with jax.enable_x64(double):
        model, variables = small(
            *kind, param_dtype=jnp.float64 if double else jnp.float32
        )
        state = to_torch(model, variables)
        precision = np.float64 if double else np.float32
        assert {a.dtype for a in state.values()} == {np.dtype(precision)}
        assert all(a.flags.c_contiguous for a in state.values())
        again, same = from_torch(state, **published_names(model))
        assert again.clone(exp=model.exp) == model
        chex.assert_trees_all_equal(same, variables, strict=True)


def test_the_scale_of_all_four_unfoldings_is_ours():
    rng = np.random.default_rng(0)
    k, c = 3, 4
    shapes = ((c * k, (k, c)), (c * k * k, (1, c)))
    ours = tuple(tuple(rng.normal(size=n) for n in uv) for uv in shapes)
    theirs = published_vectors(ours, k, c)
    for mine, candidates in zip(ours, our_vectors(theirs), strict=True):
        for uv in candidates:
            assert all(map(same_bits, mine, uv))
    with jax.enable_x64(True):
        kernel = ops.skew_kernel(jnp.asarray(rng.normal(size=(k, k, c, c))))
    each = zip(ops.unfoldings(np.asarray(kernel)), ours, strict=True)
    due = [float(u @ side_by_side(m) @ v.ravel()) for m, (u, v) in each]
    weight = np.asarray(kernel).transpose(3, 2, 0, 1)
    found = [np.sum(weight * theirs[f"u{n}"] * theirs[f"v{n}"]) for n in (1, 2, 3, 4)]
    # sums of 144 products of size 1 in float64
    assert found == pytest.approx([due[0], due[0], due[1], due[1]], rel=1e-12)


def test_mean_and_std_get_the_precision_of_the_weights():
    model, variables = small(mean=(0.1, 0.2, 0.3))
    state = to_torch(model, variables)
    assert state["shift"].ravel().tolist() == [float(np.float32(m)) for m in model.mean]


def test_sides_that_would_be_lost_are_refused():
    model, variables = small(image_shape=(8, 4, 3))
    with pytest.raises(ValueError, match=r"\(8, 4, 3\)"):
        to_torch(model, variables)


def test_what_the_format_cannot_hold_is_refused():
    model, variables = small(use_bias=False)
    with pytest.raises(ValueError, match="no convolutions without biases"):
        to_torch(model, variables)
    model, variables = small(activation=MaxMin())
    with pytest.raises(ValueError, match="no activation MaxMin.*maxmin, householder"):
        to_torch(model, variables)


def test_a_scale_of_zero_is_refused():
    model, variables = small()
    conv = variables["params"]["stage1_layer1"]["conv"]
    conv["kernel"] = jnp.zeros_like(conv["kernel"])
    with pytest.raises(ValueError, match="block1.0.ortho.*divides"):
        to_torch(model, variables)


def test_variables_of_another_model_are_refused():
    model, variables = small()
    with pytest.raises(ValueError, match="another model: params/.*theta"):
        to_torch(model.clone(activation="householder"), variables)
    with pytest.raises(ValueError, match="another model: params/.*shape"):
        to_torch(model.clone(num_classes=5), variables)
    with pytest.raises(ValueError, match="another model"):
        to_torch(model, {"params": variables["params"]})


def test_half_precision_of_other_kinds_is_refused():
    model, variables = small()
    rounded = jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables)
    with pytest.raises(ValueError, match="bfloat16"):
        to_torch(model, rounded)


def test_a_pooling_that_the_published_format_lacks():
    model = LipConvNet((4, 4, 1), 3, stages=1, width=2, mean=(0.0,), std=(1.0,))
    other = model.clone(last_pooling=False)
    variables = drawn(other, jnp.zeros((1, 4, 4, 1)))
    assert model.has_last_pooling and not other.has_last_pooling
    with pytest.raises(ValueError, match="no last_pooling=False"):
        to_torch(other, variables)
