"""Files of observations become one observation, with the noise of each track."""
