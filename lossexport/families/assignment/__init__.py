"""Which prediction trains on which target: the costs of DETR, the task-aligned assignment."""
