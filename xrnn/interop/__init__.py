"""Layers to and from files and other libraries. Each has a module, which imports its library at the first call."""
