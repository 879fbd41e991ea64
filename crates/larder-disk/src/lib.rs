//! The embedded persistent tier of Larder: bounded, crash-safe, found again at restart.
