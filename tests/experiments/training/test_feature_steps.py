"""The head alone is trained, on the features of a trunk that stays; attacks on them."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.configs import PRESETS
from experiments.training.checkpoints import Checkpoint
from experiments.training.feature_steps import FeatureSteps
from experiments.training.forward import HEAD, make_forward
from experiments.training.model import build
from experiments.training.run_folder import RunFolder
from experiments.training.state import zero_metrics
from experiments.training.trainer import Trainer
from lipjax.attacks import adversarial_features

TINY = dataclasses.replace(PRESETS["digits"](), width=2, batch_size=600, epochs=2)
HEAD_ONLY = dataclasses.replace(
    TINY, head="curvature", hidden=8, train_only="head", lookahead=2, clip_norm=1.0
)


@pytest.fixture(scope="module")
def source(digits):
    """Variables of a network with a linear head, after a step."""
    trainer = Trainer(TINY, digits)
    state, _ = trainer.steps(trainer.init(), zero_metrics(trainer.mesh), 1)
    return jax.tree.map(np.asarray, state.variables)


def trainer_of_head(digits):
    model = build(TINY, digits)
    own = {"head": "curvature", "hidden": 8, "last_pooling": model.has_last_pooling}
    return Trainer(HEAD_ONLY, digits, model.clone(**own))


def test_only_the_head_is_trained_and_resumed(digits, source, tmp_path):
    """In two halves, the second one's features computed anew, to the same bits."""
    trainer = trainer_of_head(digits)
    first = trainer.init_from(source)
    head = jax.tree.map(np.asarray, first.params[HEAD])
    half, metrics = trainer.steps(first, zero_metrics(trainer.mesh), 2)
    run = RunFolder.create(tmp_path / "run", HEAD_ONLY, trainer.model)
    with run.checkpoints() as checkpoints:
        checkpoints.save("last", Checkpoint(half, metrics, {}, 1))
    whole, _ = trainer.steps(half, zero_metrics(trainer.mesh), 2)
    for name in whole.params.keys() - {HEAD}:
        chex.assert_trees_all_equal(whole.params[name], source["params"][name])
        chex.assert_trees_all_equal(whole.spectral[name], source["spectral"][name])
    changed = jax.tree.map(lambda a, b: (a != b).any(), whole.params[HEAD], head)
    assert all(jax.tree.leaves(changed))

    again = trainer_of_head(digits)
    found = RunFolder.open(run.path).checkpoints().restore("last")
    resumed, _ = again.steps(found.state, zero_metrics(again.mesh), 2)
    chex.assert_trees_all_equal(resumed, whole)

    assert isinstance(trainer.steps, FeatureSteps)
    features, _ = trainer.steps._features
    x = jnp.asarray(digits.train.images[:5] / np.float32(digits.levels))
    due = trainer.model.apply(whole.variables, x, method="features")
    # sums of up to 72 terms of features of size 1, in another order, in 4 layers
    np.testing.assert_allclose(features[:5], np.asarray(due), atol=1e-5)
    abstract = trainer.steps.abstract_images()[0]
    assert (abstract.shape, abstract.dtype) == (features.shape, features.dtype)


def test_a_head_of_the_same_kind_goes_on(digits, source):
    config = dataclasses.replace(TINY, train_only="head")
    state = Trainer(config, digits).init_from(source)
    chex.assert_trees_all_equal(state.variables, source)


def test_features_of_images_on_the_disk_are_not_kept(digits):
    class OnDisk:
        shape = digits.train.images.shape

        def __len__(self):
            return self.shape[0]

    train = dataclasses.replace(digits.train, images=OnDisk())
    with pytest.raises(UserError, match="--train_only=head needs images in memory"):
        Trainer(
            dataclasses.replace(TINY, train_only="head"),
            dataclasses.replace(digits, train=train),
            build(TINY, digits),
        )


def test_features_are_computed_once():
    for changed in ({"augment": True}, {"randaugment": 2}):
        with pytest.raises(UserError, match="leave out --augment and --randaugment"):
            dataclasses.replace(TINY, train_only="head", **changed)


@pytest.mark.parametrize("flag", ["attack_radius", "lookahead", "randaugment"])
def test_settings_that_make_no_sense(flag):
    with pytest.raises(UserError, match=f"--{flag} must not be negative"):
        dataclasses.replace(TINY, **{flag: -1})


def test_the_attack_has_its_radius_in_pixels(digits):
    """Only the logits of the cross-entropy are attacked."""
    config = dataclasses.replace(HEAD_ONLY, attack_radius=0.25, lookahead=0)
    model = build(dataclasses.replace(TINY, head="curvature", hidden=8), digits)
    z = jax.random.normal(jax.random.key(0), (6, 4))
    y = jnp.arange(6)
    head = model.new_head()
    own = jax.jit(head.init)(jax.random.key(1), z)
    params, spectral = {HEAD: own["params"]}, {HEAD: own["spectral"]}
    forward = jax.jit(make_forward(model, config), static_argnums=4)
    found = forward(params, spectral, z, y, False)
    logits = jax.jit(lambda z: head.apply(own, z))
    due = logits(z)
    np.testing.assert_array_equal(found.logits, due)
    move = jax.jit(lambda z: adversarial_features(logits, z, y, 0.25 / model.std[0]))
    moved = move(z)
    assert np.abs(moved - z).max() > 0.1
    np.testing.assert_allclose(found.attacked, np.asarray(logits(moved)), rtol=1e-6)
    alone = dataclasses.replace(config, attack_radius=0.0)
    found = make_forward(model, alone)(params, spectral, z, y, True)
    assert found.attacked is found.logits
    chex.assert_trees_all_equal_shapes(found.spectral, spectral)
