"""Networks, made from plain arguments."""
