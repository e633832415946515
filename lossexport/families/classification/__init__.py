"""Losses of labelled logits: anchor loss, symmetric cross entropy."""
