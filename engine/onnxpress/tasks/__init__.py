"""What an answer is: a module for each task, by its name."""
