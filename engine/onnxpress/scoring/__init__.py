"""Batch scoring: files in, files with answers out, nothing lost."""
