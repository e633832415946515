"""`attach`: an op behind the outputs of a detector."""
