"""Files of rows and named columns: the one reader of tables, for training and for `predict`.

table    an open file: names of columns, whole columns, pieces of rows; values of cells, and errors
csv      read by Arrow, or by Python where that is needed
arrays   NetCDF and Parquet, read and written
formats  the format of a file by the ending of its name, names of columns, and rows a chunk at a
         time
rasters  values of rasters, and means over the cells of a map
"""
