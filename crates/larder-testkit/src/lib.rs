//! Conformance suites, faults, a mock clock and real servers for testing Larder and its backends.
