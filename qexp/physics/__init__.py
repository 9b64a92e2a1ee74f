"""Batched, differentiable functions on tensors, in SI units, without specs, files, global state."""
