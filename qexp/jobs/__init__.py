"""Who works on runs: launchers, launches, and the current state of runs."""
