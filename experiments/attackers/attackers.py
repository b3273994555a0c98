"""Attacks of AutoAttack, foolbox and lipjax, in l2 and float64."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
from pyautoattack import AutoAttack
from torch import Tensor

from lipjax.attacks import apgd, pgd, targeted_dlr

from .balls import EPSILON, Balls

with warnings.catch_warnings():  # foolbox 3.3.4 imports a deprecated name of SciPy
    warnings.simplefilter("ignore", DeprecationWarning)
    import foolbox
    from foolbox import attacks as _attacks

# They are re-exported in a way that type checkers do not follow.
fb: Any = foolbox
attacks: Any = _attacks

Attack = Callable[[Balls, float, int], Tensor]
"""Attacks the centers of balls, within a distance, with a seed: returns points."""


def autoattack(name: str, **settings: int | bool) -> Attack:
    """An attack of the authors' AutoAttack, with settings that it lets users change."""

    def attack(balls: Balls, distance: float, seed: int) -> Tensor:
        every = AutoAttack(balls, norm="L2", eps=distance, seed=seed)
        chosen = getattr(every, name)
        chosen.seed, classes = seed, balls.target.model.classes
        for key, value in ({"n_target_classes": classes - 1} | settings).items():
            if hasattr(chosen, key):
                setattr(chosen, key, value)
        return chosen.perturb(balls.centers, balls.labels)

    return attack


def foolbox_attack(kind: type, **settings: int | float) -> Attack:
    """An attack of foolbox: all of them get the distance, some of them minimise it."""

    def attack(balls: Balls, distance: float, seed: int) -> Tensor:
        torch.manual_seed(seed)
        model = fb.PyTorchModel(balls, bounds=(0, 1), device="cpu")
        found = kind(**settings)(model, balls.centers, balls.labels, epsilons=distance)
        return found[0]

    return attack


def lipjax_attack(search: Callable[..., jax.Array], **settings: Any) -> Attack:
    """An attack of this library, operation by operation: PyTorch executes the balls."""

    def attack(balls: Balls, distance: float, seed: int) -> Tensor:
        with jax.enable_x64(True), jax.disable_jit():
            x, labels = (jnp.asarray(v.numpy()) for v in (balls.centers, balls.labels))
            key = jax.random.key(seed)
            found = search(in_jax(balls), x, labels, distance, key, **settings)
            return torch.tensor(np.asarray(found))

    return attack


def in_jax(balls: Balls) -> Callable[[jax.Array], jax.Array]:
    """The balls' logits as a function that JAX can derive. Each point is tried once."""
    tried: list[tuple[Tensor, Tensor]] = []  # PyTorch's residuals are none of JAX's

    @jax.custom_vjp
    def logits(u: jax.Array) -> jax.Array:
        return jnp.asarray(balls(torch.tensor(np.asarray(u))).detach().numpy())

    def forward(u: jax.Array) -> tuple[jax.Array, None]:
        points = torch.tensor(np.asarray(u), requires_grad=True)
        values = balls(points)
        tried.append((points, values))
        return jnp.asarray(values.detach().numpy()), None

    def backward(_: None, cotangent: jax.Array) -> tuple[jax.Array]:
        points, values = tried.pop()
        weights = torch.tensor(np.asarray(cotangent))
        gradient = torch.autograd.grad(values, points, weights)[0]
        return (jnp.asarray(gradient.numpy()),)

    logits.defvjp(forward, backward)
    return logits


ATTACKS: dict[str, Attack] = {
    "autoattack apgd-ce": autoattack("apgd", n_restarts=1),
    "autoattack apgd-t": autoattack("apgd_targeted"),
    "autoattack fab-t": autoattack("fab", targeted=True, n_restarts=1),
    "autoattack square": autoattack("square", n_queries=1000),
    "foolbox pgd": foolbox_attack(attacks.L2PGD, steps=100),
    "foolbox adam pgd": foolbox_attack(attacks.L2AdamPGD, steps=100),
    "foolbox deepfool": foolbox_attack(attacks.L2DeepFoolAttack),
    "foolbox ddn": foolbox_attack(attacks.DDNAttack, steps=100),
    "foolbox fmn": foolbox_attack(attacks.L2FMNAttack, steps=100),
    "foolbox carlini-wagner": foolbox_attack(
        attacks.L2CarliniWagnerAttack, binary_search_steps=4, steps=100
    ),
    "foolbox noise": foolbox_attack(
        attacks.L2RepeatedAdditiveGaussianNoiseAttack, repeats=100
    ),
    "lipjax pgd": lipjax_attack(pgd),
    "lipjax apgd-ce": lipjax_attack(apgd),
    "lipjax apgd-t": lipjax_attack(apgd, loss=targeted_dlr()),
}


def run_attack(name: str, balls: Balls, seed: int) -> None:
    """Runs an attack; the balls judge and count the points that it tries."""
    with in_float64():
        found = ATTACKS[name](balls.eval(), balls.factor * EPSILON, seed)
    balls.judge_by_numpy(found)


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Makes the tensors that attacks create float64; numbers are drawn repeatably.

    AutoAttack casts images by `float()`, which is therefore `double()` here.
    """
    before = torch.get_default_dtype()
    with (
        torch.random.fork_rng(devices=[]),
        mock.patch.object(Tensor, "float", Tensor.double),
    ):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
