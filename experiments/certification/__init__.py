"""Certificates of a run's test images, tested by attacks and by exact rounding."""
