"""Checkpoints of the published PyTorch models, as lipjax models, and back."""

from lipjax.convert.entries import NAMES as NAMES
from lipjax.convert.entries import published_names as published_names
from lipjax.convert.reading import from_torch as from_torch
from lipjax.convert.writing import to_torch as to_torch
