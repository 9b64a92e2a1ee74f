"""Files of rows and named columns: the one reader of tables, for training and for `predict`.

values   what a cell is: a number, missing, or neither
table    a file that was opened: its columns, read as a whole or in pieces
chunks   some rows at a time, as features and the columns that are kept beside them
csv, parquet, netcdf   a format each: how pieces of it are read, and how it is written
formats  which format a file is, by the ending of its name
raster   means over the cells of a map, from rows with positions
"""
