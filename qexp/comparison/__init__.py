"""Runs side by side: tables of results, statistics over seeds, differences between specs."""
