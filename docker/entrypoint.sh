#!/bin/bash
# ROS, our environment and our package, then whatever is asked for.
set -e
. "/opt/ros/${ROS_DISTRO}/setup.bash"
. /ws/venv/bin/activate
. /ws/install/setup.bash
exec "$@"
