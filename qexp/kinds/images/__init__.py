"""Simulated images, and the values that made them."""

from qexp.spec.kinds import Kind

KIND = Kind(
    documents="qexp.kinds.images.spec:DOCUMENTS",
    data="qexp.kinds.images.experiment:DATA",
    train="qexp.kinds.images.evaluation:train",
    evaluate="qexp.kinds.images.evaluation:open_data",
    predict="qexp.kinds.images.prediction:PREDICTION",
    invert="qexp.kinds.images.inversion:network_of",
    emulate="qexp.kinds.images.emulator:Emulator",
    new="qexp.kinds.images.new",
    simulate="qexp.kinds.images.simulate:Simulator",
    look="qexp.kinds.images.preview:ImagesPreview",
    figures="qexp.kinds.images.figures:FIGURES",
)
