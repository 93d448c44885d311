"""The command ``depth_node``: ready for Ctrl-C before anything heavy is loaded."""

import os
import signal
import sys


def main() -> int:
    """Run the depth node until a signal ends it, or print its parameters; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Nothing is open while modules load, and an exception within an import may come out as another one.
        signal.signal(number, lambda *_: os._exit(0))
    if {"-h", "--help"} & set(sys.argv[1:]):
        from edfv_ros.nodes.parameters import usage

        print(usage(), flush=True)
        return 0
    from edfv_ros.nodes.depth_node import DepthNode
    from edfv_ros.nodes.running import run_node

    return run_node(DepthNode)


if __name__ == "__main__":
    sys.exit(main())
