"""Whole models without a command line: their data, layers, training and files."""
