"""The node's side of a Python child. Not for user code: names here change without notice."""
