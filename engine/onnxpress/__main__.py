"""`python -m onnxpress`: the command line."""

from onnxpress.cli.main import main

main()
