"""Pictures of plain numbers. They know nothing of runs or specs, and matplotlib is loaded when one
is drawn.
"""
