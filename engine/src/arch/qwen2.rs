//! Qwen 2 and 2.5: a Llama with biases, which are tensors and need no setting.

use crate::LoadError;
use crate::source::Source;
use crate::spec::Spec;

pub fn spec(source: &mut Source, _context: usize) -> Result<Spec, LoadError> {
    Spec::read(source)
}
