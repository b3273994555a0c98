"""Data sets for the training programs, as arrays of bytes.

Names: ``digits`` (scikit-learn's, needs no network), ``cifar10`` and ``cifar100``
(downloaded once), ``folder:PATH`` (images at PATH/train/CLASS/* and
PATH/test/CLASS/*, where PATH is a folder or a tar archive). They are in memory;
``records:DIR`` (a folder of images packed by ``experiments.pack``) stays on the disk.
"""

from .dataset import Dataset, Split, evenly
from .load import load

__all__ = ["Dataset", "Split", "evenly", "load"]
