"""Box deltas: encoding and decoding against anchors."""
