"""The doors to files and to other libraries, one a module; each imports its library when it is used."""
