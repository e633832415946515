"""The whole training loss of a detector as one graph: matching, parts, total."""
