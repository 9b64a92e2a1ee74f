"""What everything else stands on: files, tables, quantities. It knows no physics, specs or runs."""
