"""Certificates of a run's test images, and what attacks and rounding do to them."""
