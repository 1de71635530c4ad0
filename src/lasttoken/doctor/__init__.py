"""What is wrong with a classifier, whoever trained it, and how it is mended."""
