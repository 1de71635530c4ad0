"""Programs that measure speed, memory and accuracy; `run.py` runs them all."""
