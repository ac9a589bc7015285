"""Statistics that stay valid however often one looks: the judge of meshctl, usable alone."""
