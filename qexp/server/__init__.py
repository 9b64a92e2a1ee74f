"""A workspace in a browser: pages over all runs, which grow while runs train. It reads; changes need to be allowed."""
