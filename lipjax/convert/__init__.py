"""Checkpoints of the published PyTorch models, as lipjax models, and back."""

from lipjax.convert.entries import NAMES as NAMES
from lipjax.convert.entries import published_names as published_names
from lipjax.convert.reading import from_reference as from_reference
from lipjax.convert.writing import to_reference as to_reference
