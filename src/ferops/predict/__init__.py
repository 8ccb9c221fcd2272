"""Expressions in pictures: faces found, cut out and recognised, without TensorFlow.

Imports `labels`, `errors`, `machine` and the image reader of `data`.
"""
