"""What commands find out about a finished run: kept in its directory, shown alike everywhere."""
