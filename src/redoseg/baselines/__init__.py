"""Other ways to find the object, without training. All but `iem`, `saliency` and `pixels` need the extra
`baselines`."""
