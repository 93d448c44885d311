"""Networks that are trained only to be compared with ours."""
