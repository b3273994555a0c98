"""The published recipe: optimiser, schedule and step."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from .heads import CurvatureHead, NormalizedHead
from .network import LipConvNet
from .soc import SkewOrthogonalConv, prepared_kernels

REFRESH_STEPS = 50


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of the training.

    Attributes:
      learning_rate: at the start; a tenth at 1/2 and again at 3/4 of the steps.
      momentum: of SGD.
      weight_decay: on the kernels of convolutions and of the normalised head.
      temperature: the loss is the cross-entropy of logits times this.
      curvature_penalty: weight of the curvature head's penalty.
      clip_norm: largest norm of a step's gradient; 0: no clipping.
      autocast: dtype of the computation, or None: the parameters'. bfloat16 has the
        range of float32, so the loss is not scaled.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    temperature: float = 1.0
    curvature_penalty: float = 0.0
    clip_norm: float = 0.0
    autocast: torch.dtype | None = None


def make_optimizer(network: LipConvNet, recipe: Recipe) -> torch.optim.SGD:
    """Fused SGD; only kernels of convolutions and of the normalised head decay."""
    kinds = (SkewOrthogonalConv, NormalizedHead)
    decayed = [m.weight for m in network.modules() if isinstance(m, kinds)]
    known = {id(p) for p in decayed}
    others = [p for p in network.parameters() if id(p) not in known]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=True
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.MultiStepLR:
    """A tenth of the learning rate at one half, again at three quarters of the steps.

    Call its `step` once after every training step.
    """
    milestones = [steps // 2, steps * 3 // 4]
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)


def train_step(
    network: LipConvNet,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe | None = None,
) -> Tensor:
    """Takes one step.

    Args:
      network: in training mode.
      optimizer: see `make_optimizer`.
      images: pixels [n, c, height, width], augmented, in channels-last order.
      labels: int64 [n].
      recipe: the published one without curvature penalty by default.

    Returns:
      The loss before the step, on the device.
    """
    recipe = recipe or Recipe()
    loss = training_loss(network, images, labels, recipe)
    optimizer.zero_grad()
    loss.backward()
    if recipe.clip_norm:
        clip_gradients(network, recipe.clip_norm)
    optimizer.step()
    return loss.detach()


def training_loss(
    network: LipConvNet, images: Tensor, labels: Tensor, recipe: Recipe
) -> Tensor:
    """The cross-entropy plus the curvature head's penalty."""
    dtype = recipe.autocast
    with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
        logits = network(images)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = F.cross_entropy(recipe.temperature * logits, labels)
    head = network.logits_layer
    if recipe.curvature_penalty and isinstance(head, CurvatureHead):
        loss = loss + recipe.curvature_penalty * head.penalty(logits, labels)
    return loss


@torch.no_grad()
def clip_gradients(network: LipConvNet, largest: float) -> None:
    """Scales the gradients to a norm of at most `largest`, exactly.

    PyTorch's `clip_grad_norm_` adds 1e-6 to the norm by which it divides.
    """
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    factor = (largest / norm).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor)


def refresh(network: LipConvNet, steps: int = REFRESH_STEPS) -> None:
    """Takes steps of all power iterations; the recipe does so in mid-epoch."""
    for module in network.modules():
        if isinstance(module, SkewOrthogonalConv | CurvatureHead):
            module.refresh(steps)


@torch.inference_mode()
def evaluate(
    network: LipConvNet, images: Tensor, labels: Tensor, batch_size: int = 250
) -> tuple[Tensor, Tensor]:
    """Predictions and radii by closed forms; kernels are computed once.

    Args:
      network: evaluated in evaluation mode; its mode is restored.
      images: pixels [n, c, height, width] in [0, 1], channels last.
      labels: int64 [n].
      batch_size: images a call of `network.predict`.

    Returns:
      Classes [n], and radii [n] against all other classes: l2, in pixels of [0, 1], 0
      where the class is not the label. They are estimates: they include the Lipschitz
      constant of the normalisation, but neither rounding nor gains of polynomials.
    """
    was_training = network.training
    network.eval()
    try:
        with prepared_kernels(network):
            constants = network.logits_layer.constants()
            batches = images.split(batch_size)
            parts = [network.predict(batch, constants) for batch in batches]
    finally:
        network.train(was_training)
    classes, radii = (torch.cat(part) for part in zip(*parts, strict=True))
    return classes, torch.where(classes == labels, radii, 0.0)
