"""Charts, pictures, templates and files that the reports of `score` and `compare` share."""
