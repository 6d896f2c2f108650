"""The built-in cells, one file each."""
