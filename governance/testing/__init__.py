"""What tests of governed graphs need: cassettes, scripted and faulty models, a pytest plugin.

Import from the modules; this package imports none of them, so that the plugin costs nothing where it is not
used.
"""
