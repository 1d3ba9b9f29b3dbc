"""The example applications: governed LangGraph graphs that run with real parts."""
