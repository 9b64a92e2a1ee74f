"""What this package adds to qexp is named in its pyproject.toml."""
