//! The stored form of an entry.
