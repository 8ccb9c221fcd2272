"""The expectations on the data and their checkpoint; the only package that knows Great Expectations."""
