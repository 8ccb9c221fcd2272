"""The data: readers, the synthetic sample, and the pipeline's steps on arrays.

Imports only labels, params, errors and machine.
"""
