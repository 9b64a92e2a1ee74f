"""Remotes: folders, servers and buckets to which runs are pushed and from which they are pulled."""
