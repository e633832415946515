"""Proof that an artifact computes what eager PyTorch computes."""
