"""What everything else stands on: files, tables, quantities. It knows no physics, no specs and no
runs.
"""
