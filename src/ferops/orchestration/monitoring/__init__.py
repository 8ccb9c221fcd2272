"""Score folders of images with the registered model, and detect drift between them and its training data."""
