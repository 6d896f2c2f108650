"""The job behind `xrnn regress`: it learns to predict a number for a time series of any length."""
