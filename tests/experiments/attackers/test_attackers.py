"""No attack finds anything inside a certified ball, and many do beyond."""

import numpy as np
import pytest
import torch

from experiments.attackers.attackers import ATTACKS, run_attack
from experiments.attackers.balls import INSIDE, Balls
from experiments.attackers.networks import KINDS, make_network, read_certified
from helpers.attackers import linear_target

# Two see no gradients; Adam scales their numbers, and so leaves their direction.
WEAK = ("foolbox noise", "autoattack square", "foolbox adam pgd")
SLOW = ("autoattack fab-t", "autoattack square", "foolbox carlini-wagner")
SLOW += ("lipjax apgd-ce", "lipjax apgd-t")
EACH = [pytest.param(n, marks=pytest.mark.long if n in SLOW else ()) for n in ATTACKS]


class Recorder(Balls):
    """Balls that remember the types of the points that they are given."""

    def forward(self, u):
        self.types = getattr(self, "types", set()) | {u.dtype}
        return super().forward(u)


@pytest.mark.parametrize("name", EACH)
def test_linear_classifier(name):
    """None succeeds within the true radius; most do 2% beyond."""
    balls = Recorder(linear_target(count=4), INSIDE)
    run_attack(name, balls, 0)
    assert balls.points > 0 and not balls.successes and not balls.broken.any()
    assert balls.types == {torch.float64}
    assert torch.get_default_dtype() == torch.float32
    if name not in WEAK:
        wrong = Balls(linear_target(count=4, scale=1.02), INSIDE)
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


def test_certified_networks(certified):
    """5,000 points in the balls of each network; beyond, predictions change."""
    points = 0
    for name in ATTACKS.keys() - set(SLOW):
        balls = Balls(certified.target(0, 6), INSIDE)
        run_attack(name, balls, 0)
        assert not balls.successes, (name, balls.successes)
        points += balls.points
    assert points >= 5000
    beyond = Balls(certified.target(0, 6), 3.0)
    run_attack("autoattack apgd-ce", beyond, 0)
    assert beyond.broken.any() and not beyond.successes


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_every_kind(kind, tmp_path):
    make_network(tmp_path, kind, 0)
    certified = read_certified(tmp_path, "x")
    for name in ATTACKS:
        balls = Balls(certified.target(0, 20), INSIDE)
        run_attack(name, balls, 0)
        assert balls.points and not balls.successes
