"""Runs in a browser and in notebooks: reports, pages, objects that show themselves."""
