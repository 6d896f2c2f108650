"""The jobs behind the commands. What they share lies here, what only one of them needs in a folder of its own."""
