"""Physics: batched, differentiable functions on tensors, in SI units, without specs, files or
global state.
"""
