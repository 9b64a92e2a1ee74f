"""Which runs a command asks for, and the directories that are prepared for them."""
