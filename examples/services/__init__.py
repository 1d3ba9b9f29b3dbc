"""Four small services, run as separate processes on loopback, that can be broken and healed for real.

`python -m examples.services up` starts them; `examples.services.platform.Platform` does the same from Python.
"""
