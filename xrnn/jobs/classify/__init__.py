"""The job behind `xrnn classify` and `xrnn predict`: a label for a time series of any length."""
