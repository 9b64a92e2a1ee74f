"""Rows of tables."""

from qexp.spec.kinds import Kind

KIND = Kind(
    documents="qexp.kinds.rows.spec:DOCUMENTS",
    data="qexp.kinds.rows.experiment:DATA",
    train="qexp.kinds.rows.training:train_folds",
    folds="qexp.kinds.rows.training:WORK_ON_FOLDS",
    held_out="qexp.kinds.rows.folds:units_of_rows",
    evaluate="qexp.kinds.rows.evaluation:open_data",
    predict="qexp.kinds.rows.prediction:PREDICTION",
    combine="qexp.kinds.rows.combination:combine",
    distil="qexp.kinds.rows.distil:distil",
    new="qexp.kinds.rows.new",
    look="qexp.kinds.rows.preview:RowsPreview",
    figures="qexp.kinds.rows.figures:FIGURES",
)
