"""Forecasters: models that predict the next values of a time series."""
