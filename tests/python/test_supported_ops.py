"""docs/reference/supported_ops.md is what its command would write now."""

import difflib

import make_supported_ops


def test_the_table_is_up_to_date():
    now, wanted = make_supported_ops.TARGET.read_text(), make_supported_ops.table()
    changes = difflib.unified_diff(now.splitlines(), wanted.splitlines(), "docs/reference/supported_ops.md", "as it would be made", lineterm="", n=0)
    assert now == wanted, "run python tests/python/make_supported_ops.py\n" + "\n".join(changes)
