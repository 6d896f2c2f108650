"""Readers of series: files of any format, and the objects of pandas."""
