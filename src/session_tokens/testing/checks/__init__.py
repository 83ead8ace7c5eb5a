"""The checks of the conformance suite, one file for each part of the contract."""
