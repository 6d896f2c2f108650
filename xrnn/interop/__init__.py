"""Layers to and from files and other libraries, one module each, which imports its library at its first use."""
