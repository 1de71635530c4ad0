"""The contenders: one module each, with its default and its best settings."""
