"""Every point is judged in its own ball, by where it is and by what it changes."""

import numpy as np
import pytest
import torch

from experiments.attackers.balls import EPSILON, INSIDE, Balls
from helpers.attackers import linear_target


def points(balls, factor, seed=0):
    """A point in a random direction from each center, at `factor` radii."""
    draw = np.random.default_rng(seed).normal(size=balls.centers.shape)
    delta = torch.tensor(draw)
    length = delta.flatten(1).norm(dim=1)[:, None, None, None]
    return balls.centers + factor * EPSILON * delta / length


def worst(balls, factor):
    """The point of each ball that goes straight to the nearest other class."""
    model = balls.target.model
    x = balls.target.images.reshape(len(balls.labels), -1)
    logits = (x - 0.5) / 0.5 @ model.kernel + model.bias
    own = model.kernel.T[balls.target.labels][:, None]
    ways = model.kernel.T[None] - own
    gaps = logits.max(axis=1, keepdims=True) - logits
    lengths = np.linalg.norm(ways, axis=2)
    ratios = np.divide(gaps, lengths, out=np.full(gaps.shape, np.inf), where=gaps > 0)
    chosen = np.take_along_axis(ways, ratios.argmin(1)[:, None, None], axis=1)[:, 0]
    delta = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
    delta = torch.tensor(delta.reshape(balls.images.shape)).permute(0, 3, 1, 2)
    return balls.centers + factor * EPSILON * delta


def test_points_are_at_the_radius_that_they_stand_for():
    target = linear_target()
    balls = Balls(target, 3.0)
    u = points(balls, 0.9)
    seen = []
    balls.target.execution.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    balls(u)
    distance = (seen[0] - balls.images).flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(distance, 0.9 * target.radius, rtol=1e-12)


@pytest.mark.parametrize("factor", [INSIDE, 1.5])
def test_the_order_of_points_does_not_matter(factor):
    balls = Balls(linear_target(), factor)
    u = worst(balls, 1.2)
    order = torch.randperm(len(u), generator=torch.manual_seed(0))[:7]
    balls(u[order])
    assert balls.broken.sum() == (0 if factor < 1 else 7)
    assert balls.broken[order.numpy()].all() == (factor > 1)


def test_points_inside_are_counted():
    balls = Balls(linear_target(), 1.5)
    balls(balls.centers)
    assert balls.queries == 20 and balls.points == 0
    balls(points(balls, 0.9))
    assert balls.queries == 40 and balls.points == 20
    balls(points(balls, 1.1))
    assert balls.queries == 60 and balls.points == 20


def test_points_beyond_are_moved_inside():
    balls = Balls(linear_target(), INSIDE)
    balls(worst(balls, 2.0))
    assert balls.queries == balls.points == 20
    assert not balls.successes and not balls.broken.any()


@pytest.mark.parametrize("scale, factor, expected", [(1.01, 0.995, 20), (0.99, 1, 0)])
def test_a_wrong_radius_is_found(scale, factor, expected):
    """A point at 1.005 true radii is a success for a radius that is 1% too large."""
    balls = Balls(linear_target(scale=scale), INSIDE)
    balls(worst(balls, factor))
    assert len(balls.successes) == balls.broken.sum() == expected
    for success in balls.successes:
        image = balls.target.images[success.image]
        assert np.linalg.norm(success.point - image) < success.radius


@pytest.mark.parametrize("logits", [[1.0, 1.0], [torch.nan, 0.0], [1.0, torch.nan]])
def test_ties_and_nan_are_changes(logits):
    balls = Balls(linear_target(count=1, classes=2), INSIDE)
    which, at = torch.tensor([0]), balls.images + 1e-3 * balls.radius
    balls.judge(which, at, torch.tensor([logits], dtype=torch.float64))
    assert len(balls.successes) == 1


def test_the_checker_judges_as_well():
    balls = Balls(linear_target(scale=1.01), INSIDE)
    balls.judge_by_numpy(worst(balls, 0.995))
    assert len(balls.successes) == 20 and balls.points == 0


def test_balls_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="too few pixels"):
        Balls(linear_target(count=50, shape=(1, 1, 3)), INSIDE)
