"""Networks, their training and their metrics: arrays in, arrays out, with Keras and scikit-learn alone."""
