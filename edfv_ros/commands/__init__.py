"""The sub-commands of `edfv`, one file each."""
