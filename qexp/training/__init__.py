"""Training: losses, metrics, optimizers, schedules, callbacks, the loop and its checkpoints."""
