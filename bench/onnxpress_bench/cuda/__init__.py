"""What CUDA does on one machine: the tests that need it and a benchmark, written to one file.

python -m onnxpress_bench.cuda --output results.json               # where there is a GPU; needs no network
python -m onnxpress_bench.cuda --device cpu --output results.json  # a rehearsal: all but the device
"""
