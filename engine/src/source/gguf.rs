//! A mapped GGUF file as a [`Source`].

use super::{RowOrder, Settings, Source, Stored};
use crate::LoadError;
use bytes::Bytes;
use rbee_model::gguf::{Header, Tensor};

impl Source {
    /// The tensors of a file whose header was checked. Nothing is copied: tensors are views of `file`.
    ///
    /// # Errors
    /// [`LoadError::Read`] if a tensor lies outside of `file` or its length is not that of its shape.
    pub fn gguf(header: &Header, file: &Bytes) -> Result<Self, LoadError> {
        let stored = |tensor: &Tensor| Ok((tensor.name.clone(), read(header, file, tensor)?));
        let tensors = header.tensors().iter().map(stored).collect::<Result<Vec<_>, LoadError>>()?;
        Ok(Self::new(header.architecture(), RowOrder::Gguf, Settings::of_header(header), tensors))
    }
}

fn read(header: &Header, file: &Bytes, tensor: &Tensor) -> Result<Stored, LoadError> {
    let unreadable = |message: &str| LoadError::Read { name: tensor.name.clone(), message: message.to_owned() };
    let outside = || unreadable("it lies outside of the file");
    let start = header.data_offset().checked_add(tensor.offset).ok_or_else(outside)?;
    let end = start.checked_add(tensor.bytes).ok_or_else(outside)?;
    if end > file.len() as u64 {
        return Err(outside());
    }
    let columns = tensor.dims.first().copied().unwrap_or(1);
    let blocks = tensor.elements() / tensor.dtype.block_elements();
    if !columns.is_multiple_of(tensor.dtype.block_elements()) || blocks * tensor.dtype.block_bytes() != tensor.bytes {
        return Err(unreadable("its length does not fit its shape"));
    }
    let mut shape: Vec<usize> = tensor.dims.iter().rev().map(|&d| d as usize).collect();
    // Files write trailing dimensions of 1 or leave them out.
    while shape.len() > 1 && shape[0] == 1 {
        shape.remove(0);
    }
    Ok(Stored { dtype: tensor.dtype, shape, bytes: file.slice(start as usize..end as usize) })
}
