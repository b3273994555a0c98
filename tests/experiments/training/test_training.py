"""Steps, schedules and checkpoints of a training run."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.configs import PRESETS
from experiments.reporting.pictures import draw_radii
from experiments.reporting.summary import summarize
from experiments.reporting.tables import duration
from experiments.training.augmentation import random_crop, random_flip, to_pixels
from experiments.training.checkpoints import Checkpoint
from experiments.training.evaluation import Evaluator
from experiments.training.model import build, exp_approximation, from_json, to_json
from experiments.training.run_folder import RunFolder
from experiments.training.state import zero_metrics
from experiments.training.steps import InMemorySteps
from experiments.training.trainer import Trainer
from lipjax.ops import chebyshev, taylor

TINY = dataclasses.replace(PRESETS["digits"](), width=2, batch_size=300, epochs=2)


@pytest.fixture(scope="module")
def trainer(digits):
    return Trainer(TINY, digits)


def _epochs(trainer, state, count, call):
    metrics = zero_metrics(trainer.mesh)
    for _ in range(count * trainer.steps_per_epoch // call):
        state, metrics = trainer.steps(state, metrics, call)
    return state, metrics


@pytest.fixture(scope="module")
def straight(trainer):
    """Two epochs in one call."""
    return _epochs(trainer, trainer.init(), 2, 2 * trainer.steps_per_epoch)


def test_calls_of_any_length_give_the_same_bits(trainer, straight):
    state, metrics = _epochs(trainer, trainer.init(), 2, 1)
    chex.assert_trees_all_equal(state, straight[0])
    assert int(metrics.images) == int(straight[1].images) == 2 * 4 * 300


def test_a_run_is_traced_once(digits, trainer):
    """Whatever the step, the length of a call, or where the state comes from."""
    counted = Trainer(TINY, digits)
    assert isinstance(counted.steps, InMemorySteps)
    traced_once = chex.assert_max_traces(counted.steps.run, n=1)
    counted.steps.jitted = jax.jit(traced_once, donate_argnums=(0, 1))
    state, metrics = counted.init(), zero_metrics(counted.mesh)
    counted.compiled()
    for count in (1, 2, 5):
        state, metrics = counted.steps(state, metrics, count)
    stored = counted.place(jax.tree.map(np.asarray, state))
    state, _ = counted.steps(stored, zero_metrics(counted.mesh), 1)
    assert int(state.step) == 9


def test_an_evaluation_is_traced_once(digits, trainer):
    evaluator = Evaluator(trainer.model, digits.levels, batch_size=50)
    predict: Any = getattr(evaluator._predict, "__wrapped__")  # noqa: B009
    traced_once = chex.assert_max_traces(lambda *inputs: predict(*inputs), n=1)
    evaluator._predict = jax.jit(traced_once)
    variables = trainer.init().variables
    constants = evaluator.estimate_constants(variables)
    for split in (digits.test, digits.validation):
        assert len(evaluator.radii(variables, split, constants)[0]) == len(split)


def test_a_resumed_run_continues_bit_for_bit(trainer, straight, tmp_path):
    run = RunFolder.create(tmp_path / "run", TINY, trainer.model)
    first, _ = _epochs(trainer, trainer.init(), 1, trainer.steps_per_epoch)
    with run.checkpoints() as checkpoints:
        checkpoints.save("last", Checkpoint(first, zero_metrics(trainer.mesh), {}, 1))
    found = RunFolder.open(tmp_path / "run").checkpoints().restore("last")
    assert found.epoch == 1
    second, _ = _epochs(trainer, found.state, 1, trainer.steps_per_epoch)
    chex.assert_trees_all_equal(second, straight[0])


def first(trainer):
    return Checkpoint(trainer.init(), zero_metrics(trainer.mesh), {}, 0)


def after(trainer, steps):
    state, metrics = trainer.steps(*first(trainer)[:2], steps)
    return Checkpoint(state, metrics, {}, 0)


def test_a_failed_save_keeps_the_old_checkpoint(trainer, tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    run = RunFolder.create(tmp_path / "run", TINY, trainer.model).checkpoints()
    run.save("last", first(trainer))
    run.close()
    later = after(trainer, 1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(UserError, match="No space left.*step 0 is kept"):
            run.save("last", later)
    assert int(run.restore("last").state.step) == 0
    run.save("last", later)
    run.close()
    assert run.steps("last") == [0, 1]


def test_the_last_few_checkpoints_are_kept(trainer, tmp_path):
    """And what is saved is the state at the call, though steps use its arrays up."""
    run = RunFolder.create(tmp_path / "run", TINY, trainer.model).checkpoints(keep=2)
    now, due = first(trainer), []
    for _ in range(4):
        due.append(jax.tree.map(np.array, (now.state, now.metrics)))
        run.save("last", now)
        state, metrics = trainer.steps(now.state, now.metrics, 1)
        now = now._replace(state=state, metrics=metrics)
    run.close()
    assert run.steps("last") == [2, 3]
    found = run.restore("last")
    chex.assert_trees_all_equal((found.state, found.metrics), due[3])


def test_a_foreign_checkpoint_is_refused(trainer, digits, tmp_path):
    run = RunFolder.create(tmp_path / "run", TINY, trainer.model)
    with run.checkpoints() as checkpoints:
        checkpoints.save("last", first(trainer))
    other = build(dataclasses.replace(TINY, width=4), digits)
    with pytest.raises(UserError, match="of another network: its parameters"):
        RunFolder(run.path, TINY, other).checkpoints().restore("last")


def test_a_run_keeps_its_network(digits):
    """Whatever network its settings would ask for now: weights belong to one."""
    model = build(TINY, digits).clone(mean=(0.1,), kernel_size=5)
    assert Trainer(TINY, digits, model).model.mean == (0.1,)
    with pytest.raises(UserError, match="8x8x1 images of 5 classes, but digits has"):
        Trainer(TINY, digits, model.clone(num_classes=5))


def test_a_checkpoint_is_restored_whatever_its_batches(trainer, tmp_path):
    config = dataclasses.replace(TINY, batch_size=10**6)
    run = RunFolder.create(tmp_path / "run", config, trainer.model)
    with run.checkpoints() as checkpoints:
        checkpoints.save("last", first(trainer))
    found = RunFolder.open(run.path).checkpoints().restore("last")
    chex.assert_trees_all_equal(found.state, trainer.init())


def test_training_lowers_the_loss(trainer, straight):
    state, metrics = trainer.init(), zero_metrics(trainer.mesh)
    _, first = trainer.steps(state, metrics, 1)
    last = straight[1]
    assert float(last.loss) / int(last.images) < float(first.loss) / 300


def test_scales_are_refreshed_in_the_middle_of_an_epoch(trainer):
    """After the refresh every estimate is close to the true norm, before it is not."""
    state = trainer.init()
    state = state._replace(
        spectral=jax.tree.map(lambda v: jnp.ones_like(v) / v.size**0.5, state.spectral)
    )
    middle = trainer.steps_per_epoch // 2
    before, _ = trainer.steps(
        jax.tree.map(jnp.copy, state), zero_metrics(trainer.mesh), 1
    )
    after, _ = trainer.steps(state, zero_metrics(trainer.mesh), middle + 1)
    # one step leaves about a percent here; 50 converge
    assert _error(before) > 1e-3 > _error(after), (_error(before), _error(after))


def _error(state):
    """Relative error of the initial layer's estimate of its tall unfolding's norm."""
    from lipjax import ops

    kernel = state.params["initial"]["conv"]["kernel"]
    _, (u, v) = state.spectral["initial"]["conv"]["kernel_vectors"]
    _, (tall,) = ops.unfoldings(ops.skew_kernel(kernel))
    norm = np.linalg.norm(np.asarray(tall), 2)
    return abs(1 - float(u @ tall @ v[0]) / norm)


def test_batches_must_fit(digits):
    with pytest.raises(UserError, match="more than the 1257 images"):
        Trainer(dataclasses.replace(TINY, batch_size=2000), digits)


def test_crops_are_shifts_with_zeros_and_flips_are_mirrors():
    images = jnp.arange(1.0, 1 + 20 * 9).reshape(20, 3, 3, 1)
    key = jax.random.key(0)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [padded[:, i : i + 3, j : j + 3] for i in range(3) for j in range(3)]
    cropped = np.asarray(random_crop(key, images, 1))
    found = [
        [w for w in range(9) if (windows[w][n] == cropped[n]).all()] for n in range(20)
    ]
    assert all(len(f) == 1 for f in found) and len({f[0] for f in found}) > 4
    flipped = np.asarray(random_flip(key, images))
    mirrored = [(flipped[n] == images[n, :, ::-1]).all() for n in range(20)]
    kept = [(flipped[n] == images[n]).all() for n in range(20)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 3 < sum(mirrored) < 17
    assert to_pixels(jnp.uint8([16]), 16) == 1.0


def test_summaries_count_wrong_predictions_as_zero():
    summary = summarize(
        np.array([0, 1, 1]), np.array([0.5, 2.0, 0.7]), np.array([0, 0, 1])
    )
    assert summary.accuracy == pytest.approx(2 / 3)
    assert summary.cra[3] == pytest.approx(1 / 3)  # 0.5 is not above 0.5
    assert summary.mean_radius == pytest.approx(0.4)


def test_evaluation_covers_every_image_once(trainer, digits):
    state = trainer.init()
    constants = Evaluator(trainer.model, 16).estimate_constants(state.variables)
    whole = Evaluator(trainer.model, 16, 360)
    parts = Evaluator(trainer.model, 16, 100)
    one = whole.radii(state.variables, digits.test, constants)
    many = parts.radii(state.variables, digits.test, constants)
    assert len(many[0]) == 360
    np.testing.assert_array_equal(one[0], many[0])
    # another batch size may sum in another order: 1e-6 of logits of size 1
    np.testing.assert_allclose(one[1], many[1], atol=1e-5)


def test_models_survive_json(digits):
    for name, preset in PRESETS.items():
        config = dataclasses.replace(preset(), depth=3)
        model = build(config, digits)
        assert from_json(to_json(model)) == model, name


@pytest.mark.parametrize("text", ["taylor", "taylor:x", "chebyshev:6", "pade:3", ""])
def test_polynomials_that_make_no_sense(text):
    with pytest.raises(UserError, match="--polynomial"):
        exp_approximation(dataclasses.replace(TINY, polynomial=text))


def test_polynomials_by_name():
    made = exp_approximation(
        dataclasses.replace(
            TINY, polynomial="taylor:5", eval_polynomial="chebyshev:8:2"
        )
    )
    assert made.coefficients == taylor(5)
    assert made.eval_coefficients == chebyshev(8, 2.0)
    turned = exp_approximation(
        dataclasses.replace(TINY, polynomial="chebyshev:3:2:0.5")
    )
    assert turned.coefficients == chebyshev(3, 2.0, 0.5)


@pytest.mark.parametrize("field", ["epochs", "batch_size", "learning_rate", "width"])
def test_settings_that_make_no_sense(field):
    with pytest.raises(UserError, match=f"--{field}"):
        dataclasses.replace(TINY, **{field: 0})


def test_pictures_of_nothing_certified(tmp_path):
    draw_radii(tmp_path / "radii.png", np.full(4, -1.0), "none correct")
    assert (tmp_path / "radii.png").stat().st_size > 1000


def test_durations_that_round_up():
    assert duration(99.6) == "1m40s"
