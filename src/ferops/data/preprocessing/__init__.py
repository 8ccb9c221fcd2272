"""What `preprocess` does to the images that were read: duplicates, overrides of labels, splits, the median filter."""
