"""A run's network for other programs, with its model card."""
