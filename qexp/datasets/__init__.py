"""Where samples come from: distributions, intervals, noise, transforms and datasets, made from plain arguments."""
