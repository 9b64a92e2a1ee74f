"""What all else stands on: files, tables, quantities. It knows no physics, specs and runs."""
