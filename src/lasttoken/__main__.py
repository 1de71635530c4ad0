"""`python -m lasttoken` is `lasttoken`."""

from lasttoken.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
