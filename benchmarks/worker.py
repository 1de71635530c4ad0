"""The process of one contender; started by `driver.py`."""

from benchmarks.gate import worker_main

if __name__ == "__main__":
    worker_main()
