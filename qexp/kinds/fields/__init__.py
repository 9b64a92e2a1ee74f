"""Fields on a grid, in folders of frames."""

from qexp.spec.kinds import Kind

KIND = Kind(
    documents="qexp.kinds.fields.spec:DOCUMENTS",
    data="qexp.kinds.fields.experiment:DATA",
    train="qexp.kinds.fields.evaluation:train",
    evaluate="qexp.kinds.fields.evaluation:open_data",
    predict="qexp.kinds.fields.prediction:PREDICTION",
    new="qexp.kinds.fields.new",
    look="qexp.kinds.fields.preview:FieldsPreview",
    figures="qexp.kinds.fields.figures:FIGURES",
)
