"""Converts layers to and from files and the objects of other libraries.

Each format has a module, which imports the format's library at its first call.
"""
