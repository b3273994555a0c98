"""Data sets for the training programs, as arrays of bytes in memory.

Names: ``digits`` (scikit-learn's, needs no network), ``cifar10`` and ``cifar100``
(downloaded once), ``folder:PATH`` (images at PATH/train/CLASS/* and
PATH/test/CLASS/*, where PATH is a folder or a tar archive).
"""

from .dataset import Dataset, Split, evenly
from .load import load

__all__ = ["Dataset", "Split", "evenly", "load"]
