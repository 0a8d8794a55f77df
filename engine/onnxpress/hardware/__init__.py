"""What this machine is, and what its processors do."""
