"""The synthetic sample: gray faces generated from a seed, which stand in for FER2013."""
