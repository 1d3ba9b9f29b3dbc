"""Measurements of what the project promises, each a module to run."""
