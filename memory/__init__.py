"""Tiered memory for LangGraph graphs, as a `BaseStore`; the package is reserved and holds nothing yet."""
