"""Python files here belong to Sphinx, or are made by it; the examples in Markdown are tests."""

collect_ignore_glob = ["*.py", "gallery/*", "_extensions/*"]
