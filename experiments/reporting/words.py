"""Radii in words."""

from __future__ import annotations

import math


def rounded_down(radius: float, digits: int = 4) -> str:
    """A proven radius, never rounded up.

    Example:
      >>> rounded_down(0.41239), rounded_down(0.0)
      ('0.4123', '0.0000')
    """
    return f"{math.floor(radius * 10**digits) / 10**digits:.{digits}f}"


def rounded_up(constant: float, digits: int = 6) -> str:
    """A proven constant, never rounded down.

    Example:
      >>> rounded_up(1.0000001), rounded_up(2.5)
      ('1.000001', '2.500000')
    """
    return f"{math.ceil(constant * 10**digits) / 10**digits:.{digits}f}"


def as_changes(radius: float, numbers: int) -> str:
    """What an l2 radius of images with so many numbers allows.

    Example:
      >>> print(as_changes(0.8, 64))
      all 64 numbers by 0.1000 each (25.5 of 255 grey levels), or one by 0.8000 (204.0)
    """
    each = radius / math.sqrt(numbers)
    return (
        f"all {numbers:,} numbers by {rounded_down(each)} each "
        f"({rounded_down(255 * each, 1)} of 255 grey levels), or one by "
        f"{rounded_down(radius)} ({rounded_down(255 * radius, 1)})"
    )
