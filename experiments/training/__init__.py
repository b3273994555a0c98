"""A training run: model, optimiser, state, step, loop, run folder, checkpoints."""
