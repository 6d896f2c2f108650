"""Forecaster: the next values of series."""
