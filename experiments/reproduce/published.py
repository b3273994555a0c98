"""Figures of papers: clean / CRA at 36, 72 and 108 over 255.

All are of CIFAR-10, in percent, and of the lossless images. Names and sources:

  S22b    Singla & Feizi, Improved techniques for deterministic l2 robustness, 2022
  LOT     Xu, Li & Li, LOT: layer-wise orthogonal training, 2022
  P24     Prach, Brau, Buttazzo & Lampert, 1-Lipschitz layers compared, 2024
  BRONet  Lai et al., on block reflector orthogonal layers and logit annealing, 2025
"""

PAPER = "79.4 / 67.0 / 52.6 / 38.3"
"""LipConvNet-15, curvature head, projection pooling, Householder 2 [S22b]."""

HEADS = (
    f"LipConvNet-15 with the curvature head, width 32, 200 epochs: {PAPER} [S22b].",
    "CIFAR-100: +3.78 points clean and +4.75 at 36/255 over the best before it [S22b].",
)
DEPTH = (
    f"LipConvNet-15 with the curvature head: {PAPER} [S22b].",
    "LipConvNet-25 of skew orthogonal convolutions: 76.4 clean, 61.9 at 36/255; as "
    "quoted in the literature, the first source is not checked.",
)
CONVOLUTIONS = (
    "Seconds an epoch on an A100, batch 256, another trunk, sizes XS / S / M / L: SOC "
    "19 / 21 / 36 / 94, BCOP 57 / 58 / 77 / 300 [P24].",
    "SOC at size M, 2 hours of an A100: 73.1 clean, 60.3 at 36/255 [P24].",
    "LOT: 76.8 / 64.4 / 49.8 / 37.3 [LOT]. BRONet with logit annealing, block "
    "reflectors, 68M parameters: 81.6 / 70.6 / 57.2 / 42.5 [BRONet].",
)
LOSSES = ("Logit annealing: +0.15 points on CIFAR-10, +0.57 on CIFAR-100 [BRONet].",)
GRADIENTS = ("The fast gradient saves over 30% of an epoch of deep networks [S22b].",)
