"""What Fast DDS has to be told before the first node of a process is made."""

import os
from collections.abc import Mapping

from edfv_ros.share import config_file

FAST_DDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy, Kilted


def fast_dds_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment that lets Fast DDS carry depth images and clouds whole; empty where the user has a profile."""
    if any(environment.get(name) for name in FAST_DDS_VARIABLES):
        return {}
    return dict.fromkeys(FAST_DDS_VARIABLES, str(config_file("fastdds.xml")))
