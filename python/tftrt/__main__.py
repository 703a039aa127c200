"""`python -m tftrt`: see `tftrt.cli.main`."""

import sys

from tftrt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
