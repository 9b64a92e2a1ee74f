"""Networks, from plain arguments: operations, training, and estimates in users' units."""
