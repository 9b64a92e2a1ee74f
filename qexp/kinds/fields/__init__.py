"""Fields on a grid, in folders of frames."""
