"""AutoAttack and foolbox find nothing inside a certified ball, and much beyond."""

import numpy as np
import pytest
import torch

from experiments.attackers.attackers import ATTACKS, run_attack
from experiments.attackers.balls import INSIDE, Balls
from experiments.attackers.networks import KINDS, make_network, read_certified
from helpers.attackers import linear_target, write_certified
from helpers.networks import TWO_KINDS, small_network

BLIND = ("foolbox noise", "autoattack square")  # they see no gradients
QUICK = [name for name in ATTACKS if name != "autoattack square"]


class Recorder(Balls):
    """Balls that remember the types of the points that they are given."""

    def forward(self, u):
        self.types = getattr(self, "types", set()) | {u.dtype}
        return super().forward(u)


@pytest.mark.parametrize("name", ATTACKS)
def test_linear_classifier(name):
    """None succeeds within the true radius; those with gradients do 2% beyond."""
    balls = Recorder(linear_target(count=8), INSIDE)
    run_attack(name, balls, 0)
    assert balls.points > 0 and not balls.successes and not balls.broken.any()
    assert balls.types == {torch.float64}
    assert torch.get_default_dtype() == torch.float32
    if name not in BLIND:
        wrong = Balls(linear_target(count=8, scale=1.02), INSIDE)
        run_attack(name, wrong, 0)
        assert wrong.successes


@pytest.mark.parametrize("name", ["autoattack apgd-ce", "foolbox noise"])
def test_a_seed_repeats_an_attack(name):
    found = []
    for seed in (0, 0, 1):
        balls = Balls(linear_target(count=4), 1.5)
        balls.register_forward_hook(lambda _, u, __: found.append(u[0].sum().item()))
        run_attack(name, balls, seed)
    first, again, other = np.array(found).reshape(3, -1)
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_certified_networks(kind, tmp_path):
    """5,000 points in the balls of each network; beyond, predictions change."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (20, 8, 8, 1), np.uint8)
    write_certified(tmp_path, small_network(kind, width=2), images)
    certified = read_certified(tmp_path, kind)
    points = 0
    for name in QUICK:
        balls = Balls(certified.target(0, 10), INSIDE)
        run_attack(name, balls, 0)
        assert not balls.successes, (name, balls.successes)
        points += balls.points
    assert points >= 5000
    beyond = Balls(certified.target(0, 10), 3.0)
    run_attack("autoattack apgd-ce", beyond, 0)
    assert beyond.broken.any() and not beyond.successes


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_every_kind(kind, tmp_path):
    make_network(tmp_path, kind, 0)
    certified = read_certified(tmp_path, "x")
    for name in QUICK:
        balls = Balls(certified.target(0, 50), INSIDE)
        run_attack(name, balls, 0)
        assert balls.points and not balls.successes
