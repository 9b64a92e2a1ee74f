"""Whether an observation is anything that the simulator of a run could have made."""
