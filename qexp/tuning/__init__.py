"""Searches of the values of keys with which an experience has the lowest validation error."""
