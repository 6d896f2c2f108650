"""A cell as CONTRIBUTING.md says to add one, for the tests alone: its cell file, and its layer file."""
