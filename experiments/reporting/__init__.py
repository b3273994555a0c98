"""Text tables and pictures."""
