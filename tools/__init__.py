"""The tools of the example applications, each with its side effect declared."""
