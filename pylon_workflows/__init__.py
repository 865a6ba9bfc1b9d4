"""Pylon Workflows."""
