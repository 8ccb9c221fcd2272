"""The expectations on the data and their checkpoint; the only room that knows Great Expectations."""
