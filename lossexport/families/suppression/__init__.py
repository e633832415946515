"""Suppression: NMS, DIoU-NMS, Cluster-NMS, Soft-NMS, variance voting, batched NMS."""
