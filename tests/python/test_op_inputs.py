"""The table of how many inputs an op takes is TensorFlow's."""

import make_op_inputs
from tftrt import _api


def test_the_table_is_that_of_tensorflows_op_defs():
    rows = {}
    for line in make_op_inputs.FILE.read_text().splitlines():
        if not line.startswith("#"):
            op, least, most = line.split("\t")
            rows[op] = (int(least), None if most == "-" else int(most))
    known = {op for op in _api._library_in_use().request("ops")["ops"] if make_op_inputs.limits(op)}
    assert len(known) > 180 and known <= set(rows), "python tests/python/make_op_inputs.py writes it"
    # An older TensorFlow may lack an op.
    assert {op: row for op, row in rows.items() if make_op_inputs.limits(op) not in (row, None)} == {}
