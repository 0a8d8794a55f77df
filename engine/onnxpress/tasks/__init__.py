"""What an answer is: a module a task."""
