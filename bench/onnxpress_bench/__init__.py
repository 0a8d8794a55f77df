"""The benchmarks: the engine beside other ways to run the same classifier, each in a process of its own."""
