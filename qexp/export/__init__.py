"""Export of trained networks to ONNX, TorchScript or Keras, for programs without qexp."""
