"""A training run: model, optimiser, state, step, loop, folder, checkpoints."""
