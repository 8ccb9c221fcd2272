"""FER2013 and its stand-in as pure arrays and files: readers, cleaning, splits, filters, augmentation."""
