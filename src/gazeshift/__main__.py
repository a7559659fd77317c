"""``python -m gazeshift``."""

from gazeshift.cli import main

main()
