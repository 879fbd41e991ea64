//! The workshop: everything the project does to itself.

fn main() {}
