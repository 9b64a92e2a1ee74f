"""Training: losses, optimizers, schedules, callbacks, the training loop and its checkpoints."""
