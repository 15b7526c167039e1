//! rbee
fn main() {}
