"""The best partner of every box."""
