"""Predictions and estimated radii of sets of images."""

from __future__ import annotations

import torch
from torch import Tensor

from .network import LipConvNet
from .soc import prepared_kernels


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
