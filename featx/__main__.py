"""``python -m featx``: the command line, where the script ``featx`` is not on the path."""

from featx.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
