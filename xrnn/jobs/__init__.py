"""The jobs behind the commands: shared modules here, and a folder for each job."""
