//! Simulated links on a virtual clock, for tests
