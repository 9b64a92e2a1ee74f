"""Export of trained networks to ONNX or TorchScript, for programs without qexp."""
