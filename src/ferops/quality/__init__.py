"""The expectations on the data and their validation; the only package that imports Great Expectations.

It imports the bottom modules alone. Stage `validate` depends on the whole folder.
"""
