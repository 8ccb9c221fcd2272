"""Score folders of images with the registered model, and compare the latest with what it was trained on."""
