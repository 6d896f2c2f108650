"""Time series: reading them from files, scaling them, and making batches of them. Jobs build on it."""
