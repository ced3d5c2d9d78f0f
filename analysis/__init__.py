"""Figures and verdicts from stored results. Knows the results reader and the schema, no JAX."""
