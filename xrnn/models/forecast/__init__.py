"""The job behind `xrnn forecast`: the next values of a time series."""
