"""The regression gate: is a candidate slower than a baseline, beyond a limit?"""
