"""What `make docs` makes from the code: the reference, the gallery, and the order of the pages."""
