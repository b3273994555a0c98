"""Training steps compiled for devices that need not be here."""
