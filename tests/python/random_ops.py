"""All steps of random graphs. A seed stands for a graph as long as the table has this order."""

import random_carried  # noqa: F401 (adds its steps)
import random_elements  # noqa: F401 (adds its steps)
import random_moves  # noqa: F401 (adds its steps)
import random_products  # noqa: F401 (adds its steps)
from random_table import OPS

__all__ = ["OPS"]
