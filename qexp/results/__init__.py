"""What commands find out about a finished run: kept in its directory, and shown everywhere in the
same way.
"""
