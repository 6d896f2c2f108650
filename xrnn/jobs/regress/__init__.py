"""The job behind `xrnn regress`: a number for a time series of any length."""
