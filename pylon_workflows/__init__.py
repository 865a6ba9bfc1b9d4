"""Durable workflows inside a Python web app, with the steps in any language."""

__version__ = "0.1.0"
