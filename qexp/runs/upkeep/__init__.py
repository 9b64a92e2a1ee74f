"""Looking after runs: doctor, trash, archives, verification."""
