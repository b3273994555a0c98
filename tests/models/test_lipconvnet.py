"""LipConvNet: its plan, its errors, and that every variant runs."""

import functools

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import jaxprs
from helpers.dense import normal, relative_error
from helpers.registry import drawn, initialised
from lipjax.models import LipConvNet
from lipjax.models.lipconvnet import ACTIVATIONS, HEADS, POOLINGS
from lipjax.nn import SPECTRAL, ExpApproximation
from lipjax.ops import chebyshev

QUICK = ExpApproximation(chebyshev(2, 2.0), chebyshev(2, 2.0))
TINY = functools.partial(
    LipConvNet,
    image_shape=(4, 4, 1),
    num_classes=3,
    stages=2,
    width=2,
    hidden=5,
    mean=(0.3,),
    std=(0.4,),
    exp=QUICK,
    param_dtype=jnp.float64,
)
SMALLEST = functools.partial(TINY, image_shape=(2, 2, 1), stages=1)
DIGITS = functools.partial(
    LipConvNet, (8, 8, 1), stages=3, width=8, hidden=16, mean=(0.3,), std=(0.4,)
)


def shapes_of(model, batch=2):
    """Variables and output as shapes, nothing computed."""
    x = jax.ShapeDtypeStruct((batch, *model.image_shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)

    def apply(**settings):
        call = functools.partial(model.apply, **settings)
        return jax.eval_shape(call, variables, x)

    return variables, apply


def kernels(variables):
    """Kernel shapes by the name of the block, in order."""
    return {
        name: block["conv"]["kernel"].shape
        for name, block in variables["params"].items()
        if "conv" in block and "kernel" in block["conv"] and name != "classifier"
    }


def test_plan_of_lipconvnet_5():
    variables, apply = shapes_of(LipConvNet())
    assert kernels(variables) == {
        "initial": (3, 3, 32, 32),
        "stage1_layer1": (3, 3, 128, 128),
        "stage2_layer1": (3, 3, 256, 256),
        "stage3_layer1": (3, 3, 512, 512),
        "stage4_layer1": (3, 3, 1024, 1024),
        "stage5_layer1": (1, 1, 2048, 2048),
    }
    assert variables["params"]["classifier"]["kernel"].shape == (1024, 10)
    assert apply().shape == (2, 10)
    assert apply(method="features").shape == (2, 1024)


def test_plan_of_lipconvnet_10():
    variables, _ = shapes_of(LipConvNet(layers_per_stage=2))
    expected = {"initial": (3, 3, 32, 32)}
    for stage, width in enumerate((32, 64, 128, 256), start=1):
        expected[f"stage{stage}_layer1"] = (3, 3, width, width)
        expected[f"stage{stage}_layer2"] = (3, 3, 4 * width, 4 * width)
    expected["stage5_layer1"] = expected["stage5_layer2"] = (1, 1, 2048, 2048)
    assert kernels(variables) == expected
    assert variables["params"]["classifier"]["kernel"].shape == (1024, 10)


def test_curvature_head_leaves_the_last_pooling_out():
    model = LipConvNet(head="curvature", pooling="projection", layers_per_stage=2)
    variables, apply = shapes_of(model)
    head = variables["params"]["classifier"]
    assert head["hidden_kernel"].shape == (2048, 4096)
    assert apply(method="features").shape == (2, 2048)
    poolings = [n for n, b in variables["params"].items() if "activation" in b]
    assert poolings == [f"stage{s}_layer2" for s in range(1, 5)]


def test_sides_and_widths():
    """Side and channels of every block's output: 32 at the start, 1 at the end."""
    model = LipConvNet()
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables, _ = shapes_of(model)
    _, state = jax.eval_shape(
        functools.partial(
            model.apply, capture_intermediates=True, mutable=("intermediates",)
        ),
        variables,
        x,
    )
    outputs = [
        state["intermediates"][name]["__call__"][0].shape[1:]
        for name in kernels(variables)
    ]
    assert outputs == [
        (32, 32, 32),
        (16, 16, 64),
        (8, 8, 128),
        (4, 4, 256),
        (2, 2, 512),
        (1, 1, 1024),
    ]


@pytest.mark.parametrize("head", HEADS)
def test_three_stages_for_digits(head):
    model = DIGITS(head=head)
    variables, apply = shapes_of(model)
    assert len(variables["params"]) == 1 + 3 + 1
    assert apply().shape == (2, 10)
    assert apply(method="features").shape == (2, 128 if head == "curvature" else 64)


def test_images_that_keep_a_side():
    """2^S need not be the whole side: the head sees what is left of the image."""
    model = LipConvNet((12, 8, 1), 3, stages=2, width=2, mean=(0.3,), std=(0.4,))
    _, apply = shapes_of(model)
    assert apply(method="features").shape == (2, 3 * 2 * 8)
    assert apply().shape == (2, 3)


# Every head, activation and pooling, at the compile time of four.
VARIANTS = [
    ("orthogonal", "maxmin", "max"),
    ("normalized", "householder", "projection"),
    ("curvature", "householder2", "max"),
    ("curvature", "maxmin", "projection"),
]


def test_variants_are_complete():
    for choices, known in zip(
        zip(*VARIANTS, strict=True), (HEADS, ACTIVATIONS, POOLINGS), strict=True
    ):
        assert set(choices) == set(known)


@pytest.mark.parametrize(("head", "activation", "pooling"), VARIANTS)
def test_every_variant_runs(head, activation, pooling):
    model = TINY(head=head, activation=activation, pooling=pooling)
    x, labels = jnp.asarray(normal(0, 2, 4, 4, 1)), jnp.array([0, 2])
    variables = drawn(model, x)

    @jax.jit
    def run(variables, x):
        def loss(params, x):
            (logits, penalty), new = model.apply(
                {**variables, "params": params},
                x,
                labels,
                update_stats=True,
                method="logits_and_penalty",
                mutable=[SPECTRAL],
            )
            return jnp.sum(logits**2) + penalty, (logits, penalty, new)

        return jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)

    gradients, (logits, penalty, new) = run(variables, x)
    assert logits.shape == (2, 3)
    assert (penalty > 0) == (head == "curvature")
    for leaf in jax.tree.leaves((gradients, logits, penalty, new)):
        assert np.isfinite(leaf).all()
    state = new.get(SPECTRAL, {})
    assert jax.tree.structure(state) == jax.tree.structure(variables[SPECTRAL])


@pytest.mark.parametrize("head", ["orthogonal", "curvature"])
def test_only_update_stats_changes_the_state(head):
    """Of every block and of the head; neither evaluation nor train=True does."""
    model = TINY(head=head)
    x = jnp.asarray(normal(0, 2, 4, 4, 1))
    variables = drawn(model, x)
    moved = jax.tree.map(lambda v: v[..., ::-1], variables[SPECTRAL])
    variables = {**variables, SPECTRAL: moved}

    @functools.partial(jax.jit, static_argnames=("train", "update_stats"))
    def state(variables, **settings):
        _, new = model.apply(variables, x, mutable=[SPECTRAL], **settings)
        return new[SPECTRAL]

    for train in (False, True):
        same = state(variables, train=train)
        jax.tree.map(np.testing.assert_array_equal, same, moved)
    changed = jax.tree.map(relative_error, state(variables, update_stats=True), moved)
    assert min(jax.tree.leaves(changed)) > 1e-3


@pytest.mark.parametrize("head", HEADS)
def test_prediction(head):
    """The class of the largest logit, and its positive radii against the others."""
    model = TINY(head=head)
    x = jnp.asarray(normal(0, 2, 4, 4, 1))
    variables = drawn(model, x)

    @jax.jit
    def run(variables, x):
        constants = model.apply(variables, method="pair_constants")
        predicted = model.apply(variables, x, constants, method="predict")
        return model.apply(variables, x), predicted

    logits, (classes, radii) = run(variables, x)
    np.testing.assert_array_equal(classes, logits.argmax(1))
    assert radii.shape == (2, 3)
    assert np.isposinf(radii[np.arange(2), classes]).all()
    assert (radii > 0).all()


def test_creation():
    model = SMALLEST()
    x = jnp.asarray(normal(0, 2, 2, 2, 1))
    variables = initialised(model, x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, drawn(model, x)
    )
    assert np.isfinite(jax.jit(model.apply)(variables, x)).all()


def test_pixels_are_normalised():
    """(x - mean) / std, channel by channel, before anything else."""
    settings = {
        "stages": 2,
        "width": 4,
        "exp": QUICK,
        "param_dtype": jnp.float64,
    }
    images = functools.partial(LipConvNet, (4, 4, 3), 3, **settings)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    raw = images(mean=(0.0,) * 3, std=(1.0,) * 3)
    x = normal(0, 2, 4, 4, 3)
    variables = drawn(raw, x)
    found = jax.jit(images(mean=mean, std=std).apply)(variables, x)
    expected = jax.jit(raw.apply)(variables, (x - np.array(mean)) / np.array(std))
    assert relative_error(found, expected) <= 1e-13


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_computation_in_a_lower_precision(dtype):
    model = TINY(dtype=dtype, activation="householder", pooling="projection")
    model = model.clone(param_dtype=jnp.float32)
    x = jnp.asarray(normal(0, 2, 4, 4, 1), jnp.float32)
    variables, _ = shapes_of(model)
    types = {w.dtype for w in jax.tree.leaves(variables)}
    assert types == {jnp.dtype(jnp.float32)}
    logits = jax.eval_shape(model.apply, variables, x)
    assert logits.dtype == dtype


@pytest.mark.parametrize("head", HEADS)
def test_no_fft_and_precision_is_stated(head):
    model = TINY(head=head, activation="householder2", pooling="projection")
    x, labels = jnp.zeros((2, 4, 4, 1)), jnp.array([0, 2])
    variables = jax.eval_shape(model.init, jax.random.key(0), x)

    def loss(variables, x):
        (logits, penalty), _ = model.apply(
            variables,
            x,
            labels,
            update_stats=True,
            method="logits_and_penalty",
            mutable=[SPECTRAL],
        )
        return logits.sum() + penalty

    for f in (loss, jax.grad(loss, (0, 1))):
        jaxpr = jax.make_jaxpr(f)(variables, x)
        assert jaxprs.contractions(jaxpr)
        assert not jaxprs.imprecise(jaxpr)
        assert not jaxprs.uses_fft(jaxpr)


def test_nnx_bridge():
    """Through `flax.nnx.bridge.ToNNX`: the same variables give the same logits."""
    linen = SMALLEST(head="curvature")
    x = jnp.asarray(normal(0, 2, 2, 2, 1))

    @nnx.jit
    def create():
        return nnx.bridge.lazy_init(nnx.bridge.ToNNX(linen, rngs=nnx.Rngs(0)), x)

    model = create()
    variables = {
        name: nnx.to_pure_dict(nnx.state(model, nnx.variable_type_from_name(name)))
        for name in ("params", SPECTRAL)
    }
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, drawn(linen, x)
    )
    found = nnx.jit(lambda model, x: model(x))(model, x)
    expected = jax.jit(linen.apply)(variables, x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"stages": 0}, "stages"),
        ({"layers_per_stage": 0}, "layers_per_stage"),
        ({"width": 0}, "width"),
        ({"num_classes": 0}, "num_classes"),
        ({"hidden": 0}, "hidden"),
        ({"stages": 6}, r"stages=6 needs sides that 2\^6 divides, not 32x32"),
        ({"image_shape": (32, 24, 3)}, "32x24"),
        ({"width": 33}, "width must be even"),
        ({"kernel_size": 4}, "kernel_size"),
        ({"mean": (0.5,)}, "mean and std"),
        ({"std": (0.5, 0.5)}, "mean and std"),
        ({"std": (0.5, 0.5, 0.0)}, "std positive"),
        ({"activation": "relu"}, "unknown activation 'relu'"),
        ({"pooling": "average"}, "unknown pooling 'average'"),
        ({"head": "linear"}, "unknown head 'linear'"),
    ],
)
def test_bad_settings(settings, match):
    with pytest.raises(ValueError, match=match):
        LipConvNet(**settings)


def test_images_of_another_shape():
    model = TINY()
    with pytest.raises(ValueError, match=r"\(4, 6, 1\) where \(4, 4, 1\)"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 4, 6, 1)))
