"""The job behind `xrnn classify` and `xrnn predict`: it learns to predict a label for a time series of any length."""
