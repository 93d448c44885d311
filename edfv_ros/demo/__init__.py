"""The demonstration: virtual rig, real node, real subscriber, one picture."""
