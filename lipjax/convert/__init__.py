"""Checkpoints of the published PyTorch models, as lipjax models, and back."""

from lipjax.convert.reading import from_torch as from_torch
from lipjax.convert.state_dict import NAMES as NAMES
from lipjax.convert.state_dict import published_names as published_names
from lipjax.convert.writing import to_torch as to_torch
