"""A module that fails with a text of two lines."""

raise OSError("libvendor.so is\nmissing")
