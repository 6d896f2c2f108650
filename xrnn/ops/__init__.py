"""The plain form of every operation, on any array namespace, forward and backward side by side."""
