"""Specs as JSON documents: reading, schemas, references, overrides, digests. Tables are handed in,
without torch.
"""
