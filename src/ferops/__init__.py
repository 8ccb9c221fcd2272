"""FER2013 with a VGG16 transfer model, as an honest MLOps workflow."""
