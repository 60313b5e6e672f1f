"""``python -m feederloop``."""

from feederloop.cli import main

main()
