"""The doors to other libraries, one a file."""
