"""Trained networks as ONNX or TorchScript, for programs that know nothing of qexp."""
