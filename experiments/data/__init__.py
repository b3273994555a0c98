"""Data sets for the training programs, as arrays of bytes.

Names: ``digits`` (from scikit-learn, needs no network), ``cifar10`` and ``cifar100``
(downloaded once), ``folder:PATH`` (images at PATH/train/CLASS/* and PATH/test/CLASS/*,
where PATH is a folder or a tar archive), ``records:DIR`` (a folder of images packed by
``experiments.pack``). The images of ``records:DIR`` stay on the disk; all others are in
memory.
"""

from .dataset import Dataset, Split, evenly
from .load import load

__all__ = ["Dataset", "Split", "evenly", "load"]
