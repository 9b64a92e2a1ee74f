"""Plans of the runs that a command asks for, and preparation of their directories."""
