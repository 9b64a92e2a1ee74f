"""Tables of rows in files that may be larger than memory, read and written piece by piece."""
