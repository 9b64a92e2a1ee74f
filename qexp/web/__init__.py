"""Runs in a browser and in notebooks: reports, pages of a workspace, and objects that show
themselves.
"""
