"""What answers outside the pipeline: a trained core behind its median filter, calibrated, as a Keras graph or exported.

`exported.Card` and `litert` load no Keras.
"""
