//! Qwen 3: queries and keys are normed per head.

use crate::LoadError;
use crate::source::Source;
use crate::spec::Spec;

pub fn spec(source: &mut Source, _context: usize) -> Result<Spec, LoadError> {
    Ok(Spec { qk_norm: true, ..Spec::read(source)? })
}
