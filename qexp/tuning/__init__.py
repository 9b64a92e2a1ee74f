"""Searches of the values of keys with which an experience has the least validation error."""
