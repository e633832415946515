"""Losses that rank: AP loss, DR loss."""
