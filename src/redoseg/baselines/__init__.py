"""Other ways to find the object, without training a network: extra `baselines`."""
