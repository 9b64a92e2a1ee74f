"""Actions: commands of the user's own that are run on runs, and keep their output in them."""
