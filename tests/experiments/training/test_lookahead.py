"""Slow weights follow the fast ones, through checkpoints and in a run."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.configs import PRESETS
from experiments.training.checkpoints import Checkpoint
from experiments.training.lookahead import Lookahead, lookahead, trained
from experiments.training.run_folder import RunFolder
from experiments.training.state import zero_metrics
from experiments.training.trainer import Trainer

TINY = dataclasses.replace(
    PRESETS["digits"](), width=2, batch_size=600, epochs=2, lookahead=3
)


def test_every_third_step_goes_half_way():
    """With momentum, which goes on through the synchronisation."""
    tx, alone = lookahead(optax.sgd(0.5, 0.5), 3), optax.sgd(0.5, 0.5)
    slow = fast = {"kernel": jnp.array([1.0, -2.0])}
    state, plain, due = tx.init(slow), alone.init(fast), slow
    for step in range(1, 8):
        grads = trained(state, slow)  # of |x|^2 / 2
        chex.assert_trees_all_close(grads, fast, rtol=1e-6)
        update, state = tx.update(grads, state, slow)
        slow = optax.apply_updates(slow, update)
        update, plain = alone.update(fast, plain, fast)
        fast = optax.apply_updates(fast, update)
        if step % 3 == 0:
            fast = due = jax.tree.map(lambda a, b: (a + b) / 2, fast, due)
        chex.assert_trees_all_close(slow, due, rtol=1e-6)


def test_no_period_is_no_lookahead():
    tx = optax.sgd(0.1)
    assert lookahead(tx, 0) is tx
    params = {"kernel": jnp.ones(2)}
    assert trained(tx.init(params), params) is params


def test_a_resumed_run_continues_bit_for_bit(digits, tmp_path):
    """From between two synchronisations; slow and fast weights differ there."""
    trainer = Trainer(TINY, digits)
    metrics = zero_metrics(trainer.mesh)
    straight, _ = trainer.steps(trainer.init(), metrics, 4)
    middle, metrics = trainer.steps(trainer.init(), zero_metrics(trainer.mesh), 2)
    assert isinstance(middle.opt_state, Lookahead)
    chex.assert_trees_all_equal(middle.params, trainer.init().params)
    fast = middle.opt_state.fast["initial"]["conv"]["kernel"]
    assert (np.asarray(fast) != middle.params["initial"]["conv"]["kernel"]).any()
    run = RunFolder.create(tmp_path / "run", TINY, trainer.model)
    with run.checkpoints() as checkpoints:
        checkpoints.save("last", Checkpoint(middle, metrics, {}, 0))
    found = RunFolder.open(run.path).checkpoints().restore("last")
    resumed, _ = trainer.steps(found.state, found.metrics, 2)
    chex.assert_trees_all_equal(resumed, straight)
    moved = jax.tree.map(lambda a, b: (a != b).any(), straight.params, middle.params)
    assert moved["initial"]["conv"]["kernel"]
