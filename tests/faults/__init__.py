"""The fault campaign: `make faults` runs it whole, tests/test_faults.py in a short form."""
