"""Weights that others have trained: files of other libraries, read without them."""
