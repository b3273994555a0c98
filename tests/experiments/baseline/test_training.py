"""Step by step, the baseline and lipjax compute the same losses and radii."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from experiments import baseline
from experiments.baseline.training import clip_gradients
from experiments.configs import PUBLISHED, Config
from experiments.data import Dataset, Split
from experiments.reporting.summary import STANDARD_RADII
from experiments.training.optimizer import optimizer
from experiments.training.state import zero_metrics
from experiments.training.trainer import Trainer
from helpers.heads import global_curvatures
from helpers.networks import small_model
from helpers.registry import PUBLISHED as PUBLISHED_EXP
from lipjax import predict_with_radius
from lipjax.inference.predict import Constants
from lipjax.ops import CurvatureWeights

STEPS = 20
RECIPES = {
    "normalized": ("max", "fast", {}),
    "orthogonal": ("max", "exact", {"temperature": 2.0}),
    "curvature": ("projection", "fast", {"curvature_penalty": 0.1, "clip_norm": 1.0}),
}


def nchw(images):
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)


def batches():
    """Images and labels of every step; the classes can be told apart."""
    random = np.random.default_rng(0)
    labels = random.integers(5, size=(STEPS, 16))
    images = random.uniform(size=(STEPS, 16, 8, 8, 1))
    return (images + labels[..., None, None, None]) / 5, labels


def lipjax_step(model, config):
    """A jitted step of lipjax in double precision, with the loss of the trainer."""
    transform = optimizer(config, STEPS)

    def loss(params, spectral, x, y):
        (logits, penalty), changed = model.apply(
            {"params": params, "spectral": spectral},
            x,
            y,
            update_stats=True,
            mutable=["spectral"],
            method="logits_and_penalty",
        )
        entropy = optax.softmax_cross_entropy_with_integer_labels(
            config.temperature * logits, y
        )
        return entropy.mean() + config.curvature_penalty * penalty, changed["spectral"]

    @jax.jit
    def step(params, spectral, state, x, y):
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, spectral), grads = gradient(params, spectral, x, y)
        updates, state = transform.update(grads, state, params)
        return value, optax.apply_updates(params, updates), spectral, state

    return step, transform.init


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name == "curvature" else pytest.mark.long)
        for name in RECIPES
    ]
)
def run(request):
    """Losses of both, and what they end with."""
    pooling, gradient, settings = RECIPES[request.param]
    exp = dataclasses.replace(PUBLISHED_EXP, gradient=gradient)
    with jax.enable_x64(True):
        model, variables = small_model(
            request.param,
            pooling=pooling,
            param_dtype=jnp.float64,
            exp=exp,
        )
        network = baseline.from_lipjax(model, variables)
        recipe = baseline.Recipe(**settings)
        sgd = baseline.make_optimizer(network, recipe)
        schedule = baseline.make_schedule(sgd, STEPS)
        step, init = lipjax_step(model, Config(**settings))
        params, spectral = variables["params"], variables["spectral"]
        state = init(params)
        losses = []
        for x, y in zip(*batches(), strict=True):
            value, params, spectral, state = step(params, spectral, state, x, y)
            theirs = baseline.train_step(
                network, sgd, nchw(x), torch.from_numpy(y), recipe
            )
            schedule.step()
            losses.append((float(value), float(theirs)))
        yield model, {"params": params, "spectral": spectral}, network, losses


def test_float64_losses_agree_and_so_do_the_radii(run):
    """Measured: 2e-15 after 20 steps; 1e-9 leaves room for other machines."""
    model, variables, network, losses = run
    assert min(losses)[0] < 0.9 * losses[0][0]  # it learns
    ours, theirs = np.transpose(losses)
    np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-9)
    x, y = (part[0] for part in batches())
    due = predict_with_radius(
        model, variables, x, labels=y, constants=constants(model, variables)
    )
    network.train()
    classes, radii = baseline.evaluate(network, nchw(x), torch.from_numpy(y), 10)
    assert network.training
    np.testing.assert_array_equal(classes, due.prediction)
    assert max(radii) > STANDARD_RADII[0] / 10
    np.testing.assert_allclose(radii, due.radius, rtol=1e-8, atol=1e-9)


def constants(model, variables):
    """What the baseline's radii use: the global curvature, the normalisation."""
    pairs = model.apply(variables, method="pair_estimates")
    if model.head == "curvature":
        weights = CurvatureWeights(**variables["params"]["classifier"])
        pairs = global_curvatures(weights)
    return Constants(1 / min(model.std), pairs)


def one_batch():
    """A data set of a single batch, of bytes."""
    x, y = (part[:4].reshape(64, *part.shape[2:]) for part in batches())
    train = Split((255 * x / 2).astype(np.uint8), y.astype(np.int32))
    empty = Split(train.images[:0], train.labels[:0])
    return Dataset("batch", train, empty, train, tuple("abcde"), 255, False, 0)


def test_float32_losses_agree_with_the_trainer():
    """The trainer of lipjax itself: its schedule, and a refresh before every step."""
    data = one_batch()
    config = Config(
        depth=3,
        width=4,
        **PUBLISHED,
        batch_size=64,
        epochs=STEPS,
        augment=False,
    )
    trainer = Trainer(config, data)
    state = trainer.init()
    network = baseline.from_lipjax(trainer.model, state.variables)
    recipe = baseline.Recipe()
    sgd = baseline.make_optimizer(network, recipe)
    schedule = baseline.make_schedule(sgd, STEPS)
    images = baseline.to_pixels(torch.from_numpy(data.train.images), data.levels)
    labels = torch.from_numpy(data.train.labels).long()
    loss = math.inf
    for _ in range(STEPS):
        state, metrics = trainer.steps(state, zero_metrics(trainer.mesh), 1)
        baseline.refresh(network)
        loss = float(baseline.train_step(network, sgd, images, labels, recipe))
        schedule.step()
        assert loss == pytest.approx(float(metrics.loss) / 64, abs=1e-4)
    assert loss < 1.5 < math.log(5)


def test_the_recipe_has_the_same_defaults():
    ours = dataclasses.asdict(Config())
    theirs = dataclasses.asdict(baseline.Recipe())
    assert theirs.pop("autocast") is None
    assert theirs.items() <= ours.items()


def test_gradients_are_clipped_exactly():
    torch.manual_seed(0)
    network = baseline.LipConvNet((8, 8, 1), 5, stages=1, width=2, mean=(0,), std=(1,))
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    norm = sum(p.numel() for p in network.parameters()) ** 0.5
    clip_gradients(network, 2 * norm)
    assert all((p.grad == 1).all() for p in network.parameters())
    clip_gradients(network, 1.0)
    clipped = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    assert float(torch.cat(clipped).norm()) == pytest.approx(1, rel=1e-6)


def test_bfloat16_computes_in_bfloat16_and_learns_the_same():
    torch.manual_seed(0)
    network = baseline.LipConvNet((8, 8, 1), 5, stages=2, width=4, mean=(0,), std=(1,))
    x, y = (part[0] for part in batches())
    x, y = nchw(x).float(), torch.from_numpy(y)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    losses = []
    for dtype in (None, torch.bfloat16):
        network.load_state_dict(kept)
        recipe = baseline.Recipe(autocast=dtype)
        sgd = baseline.make_optimizer(network, recipe)
        losses += [float(baseline.train_step(network, sgd, x, y, recipe))]
        assert all(p.dtype == torch.float32 for p in network.parameters())
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)  # bfloat16 has eps 8e-3


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_a_compiled_network_computes_the_same():
    x, y = (part[0] for part in batches())
    x, y = nchw(x).float(), torch.from_numpy(y)
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        network = baseline.LipConvNet(
            (8, 8, 1), 5, stages=2, width=4, mean=(0,), std=(1,)
        )
        if compiled:
            baseline.compile_network(network)
        sgd = baseline.make_optimizer(network, baseline.Recipe())
        losses = [baseline.train_step(network, sgd, x, y) for _ in range(3)]
        found.append(torch.stack([*losses, *baseline.evaluate(network, x, y)[1]]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)  # float32
