"""Files of rows and named columns: the one reader of tables, for training and for `predict`.

values   numbers, missing numbers and texts in cells; errors
table    an open file: names of columns, whole columns, pieces of rows
chunks   rows a chunk at a time: a matrix of features, and the columns kept beside it
csv, parquet, netcdf   one format each, read and written
formats  the format of a file, by the ending of its name
geotiff  values of rasters, and which way their rows run
raster   means over the cells of a map, from rows with positions
"""
