"""Gates: what a painted case must pass before anybody trains on it."""
