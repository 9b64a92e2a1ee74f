"""The current state of runs from their processes, launches and jobs; waiting for runs and stopping them."""
