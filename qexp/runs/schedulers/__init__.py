"""Schedulers of clusters: how jobs are submitted, asked for and cancelled."""
