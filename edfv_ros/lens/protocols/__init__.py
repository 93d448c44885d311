"""What lens controllers say on their serial lines: bytes to messages and back, no input or output."""
