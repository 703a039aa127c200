"""The command line, `python -m tftrt`: one module per command, and what they share."""
