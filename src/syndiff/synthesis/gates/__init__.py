"""Gates: what a synthetic case must pass before anybody trains on it."""
