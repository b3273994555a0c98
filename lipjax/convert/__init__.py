"""Checkpoints of the published PyTorch models, as lipjax models."""

from lipjax.convert.reference import from_reference as from_reference
