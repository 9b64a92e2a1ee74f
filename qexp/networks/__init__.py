"""Networks, made from plain arguments: their operations, their training, and estimates of them in
users' units.
"""
