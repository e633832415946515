"""The layouts of this package, each a declaration with its keys, its decoding and its finding."""
