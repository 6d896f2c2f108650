"""Layers to and from files and other libraries, one a module; each imports its library when it is used."""
