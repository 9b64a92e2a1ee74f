"""Weights of networks that other programs trained: read from their files, and renamed by rules."""
