"""Classifier and Regressor: one value per series of any length, its label or a number."""
