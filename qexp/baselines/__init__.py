"""What a network must beat: simple estimators, judged on exactly the same held-out rows."""
