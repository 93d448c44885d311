"""The serial drivers of lenses and their controllers."""
