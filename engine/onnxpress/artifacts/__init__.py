"""What an artifact is, and reading one."""
