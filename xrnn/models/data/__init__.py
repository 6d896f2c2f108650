"""Scaling time series, and making batches of them."""
