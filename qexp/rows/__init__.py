"""Files of rows and named columns: the one reader of tables, for training and for `predict`.

table    an open file: names and units of columns, whole columns, pieces of rows; what is doubted of
         numbers and units
csv      read by Arrow, or by Python where that is needed
arrays   NetCDF and Parquet, read and written
formats  the format of a file by the ending of its name, the files of a folder, and rows a chunk at
         a time
"""
