"""Other ways to find the object, without training. All but `iem` and `pixels` need the extra `baselines`."""
