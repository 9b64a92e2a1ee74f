"""Steps recorded on a CPU as a CUDA graph records them: its operations run again, and Python's code
does not.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qexp.networks.steps import Graph

READS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2"}
"""Operations that wait for the device and read from it."""


class _Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self._notes = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.overloadpacket.__name__ in READS:
            raise RuntimeError(f"{operation} is not permitted while a step is recorded")
        result = operation(*args, **(kwargs or {}))
        self._notes.append((operation, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        for operation, args, kwargs, result in self._notes:
            if operation.is_view:
                continue
            again = operation(*args, **kwargs)
            if operation._schema.is_mutable:
                continue
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)


def recorded(warm_up, step):
    warm_up()
    recorder = _Recorder()
    with recorder:
        losses = step()
    return Graph(recorder.replay, losses)
