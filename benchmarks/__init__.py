"""What xrnn's speed, memory and accuracy are, measured; README.md says how to read it."""
