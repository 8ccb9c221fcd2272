"""Expressions in pictures over HTTP: an API, and the page that uses it.

Nothing of a picture is logged or stored. Imports what `predict` may, FastAPI, uvicorn and prometheus_client.
"""
