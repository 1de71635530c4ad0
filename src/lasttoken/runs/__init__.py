"""One command's work, from files to files: train, evaluate, predict."""
