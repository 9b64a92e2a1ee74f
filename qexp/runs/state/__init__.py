"""The state of a run at this moment: its process, its launch and its job; waiting for it, and stopping it."""
