"""Spectra of sediment cores."""

from qexp.spec.kinds import Kind

KIND = Kind(
    documents="qexp.kinds.spectra.spec:DOCUMENTS",
    data="qexp.kinds.spectra.experiment:DATA",
    train="qexp.kinds.spectra.evaluation:train",
    held_out="qexp.kinds.spectra.evaluation:units_of_spectra",
    evaluate="qexp.kinds.spectra.evaluation:open_data",
    predict="qexp.kinds.spectra.prediction:PREDICTION",
    look="qexp.kinds.spectra.preview:SpectraPreview",
    figures="qexp.kinds.spectra.figures:FIGURES",
)
