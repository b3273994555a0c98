"""Converts checkpoints of the published PyTorch code to runs and back."""
