"""Made-up data sets, from physics that is known: folders to learn from where real ones are not at hand."""
