"""The search for better settings: what may be tried, and which trial comes next."""
