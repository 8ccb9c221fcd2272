"""The network, its training and its metrics: pure Keras and scikit-learn."""
