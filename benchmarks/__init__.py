"""Benchmarks of qexp, mostly ratios of two measurements that alternate in one run."""
