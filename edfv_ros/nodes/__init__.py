"""ROS 2: nodes, messages and parameters, and nothing else."""
