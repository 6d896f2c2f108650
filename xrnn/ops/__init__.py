"""The plain forms of the recurrences, on any array namespace."""
