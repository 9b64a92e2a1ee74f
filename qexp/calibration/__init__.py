"""Whether posteriors and intervals are as sure as they claim: statistics of draws beside true values."""
