"""Pieces of HTML for pages and notebooks: tables, lists, notices and small drawings. They know nothing of runs."""
