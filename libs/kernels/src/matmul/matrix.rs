//! A weight matrix: the bytes of a GGUF tensor as they lie in the file, and what they are.

use super::blocks;
use super::panel::GROUP;
use super::rows::Rows;
use super::simd::LANES;
use bytes::Bytes;
use rbee_model::gguf::DType;
use thiserror::Error;

/// Why bytes are no matrix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MatrixError {
    /// The type has no kernel.
    #[error(
        "weights of type {0} cannot be computed with; convert the model to Q8_0, Q4_K_M, F16 or another supported type"
    )]
    Unsupported(DType),
    /// A row does not consist of whole blocks.
    #[error("a row of {cols} columns does not consist of whole blocks of {block} ({dtype}); the file is damaged")]
    Columns { dtype: DType, cols: usize, block: u64 },
    /// The bytes do not have the matrix' size.
    #[error("a {rows} x {cols} matrix of type {dtype} does not have {bytes} bytes; the file is damaged")]
    Bytes { dtype: DType, rows: usize, cols: usize, bytes: usize },
}

/// `rows` x `cols` weights, row after row, in blocks of a GGUF data type. A clone shares the bytes.
#[derive(Clone)]
pub struct Matrix {
    dtype: DType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// Bytes of 32 columns of 16 rows.
    group_bytes: usize,
    bytes: Bytes,
    /// A copy of the rows after the last whole tile, made a whole one with zeros; empty where there are none.
    tail: Bytes,
}

impl Matrix {
    /// `bytes`: exactly the tensor's, in its file's order; they need no alignment.
    pub fn new(dtype: DType, rows: usize, cols: usize, bytes: Bytes) -> Result<Self, MatrixError> {
        if !blocks::is_supported(dtype) {
            return Err(MatrixError::Unsupported(dtype));
        }
        let block = dtype.block_elements();
        if cols == 0 || !(cols as u64).is_multiple_of(block) {
            return Err(MatrixError::Columns { dtype, cols, block });
        }
        let row_bytes = (cols as u64 / block).checked_mul(dtype.block_bytes());
        let row_bytes = row_bytes.and_then(|n| usize::try_from(n).ok());
        match row_bytes {
            Some(row_bytes) if row_bytes.checked_mul(rows) == Some(bytes.len()) => {
                let mut tail = bytes[rows / LANES * LANES * row_bytes..].to_vec();
                if !tail.is_empty() {
                    tail.resize(LANES * row_bytes, 0);
                }
                let group_bytes = LANES * GROUP * dtype.block_bytes() as usize / block as usize;
                Ok(Self { dtype, rows, cols, row_bytes, group_bytes, bytes, tail: tail.into() })
            }
            _ => Err(MatrixError::Bytes { dtype, rows, cols, bytes: bytes.len() }),
        }
    }

    /// Rows: the outputs of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the inputs of a product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How the weights are stored.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The blocks, row after row.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The numbers of row `i`; `out` has `cols` places. Panics when there is no such row.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "a row has as many numbers as the matrix has columns");
        blocks::decode(self.dtype, self.row_data(i), out);
    }

    /// The blocks of row `i`.
    pub(crate) fn row_data(&self, i: usize) -> &[u8] {
        &self.bytes[i * self.row_bytes..][..self.row_bytes]
    }

    /// The `i`th 16 rows.
    pub(super) fn tile(&self, i: usize) -> Rows {
        let bytes = if i < self.rows / LANES { &self.bytes[i * LANES * self.row_bytes..] } else { &self.tail };
        Rows::new(bytes[..LANES * self.row_bytes].as_ptr(), self.row_bytes)
    }

    /// Bytes of a group of 32 columns of 16 rows.
    pub(super) fn group_bytes(&self) -> usize {
        self.group_bytes
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Matrix({} x {}, {})", self.rows, self.cols, self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_of_bytes_is_refused() {
        for bytes in [0, 17, 18 * 6 - 1, 18 * 6 + 1] {
            let error = Matrix::new(DType::Q4_0, 3, 64, vec![0; bytes].into()).unwrap_err();
            assert_eq!(error, MatrixError::Bytes { dtype: DType::Q4_0, rows: 3, cols: 64, bytes });
        }
        assert!(Matrix::new(DType::Q4_0, 3, 64, vec![0; 18 * 6].into()).is_ok());
        assert!(Matrix::new(DType::Q4_0, usize::MAX, 64, Bytes::new()).is_err());
        assert!(Matrix::new(DType::F32, usize::MAX, usize::MAX, Bytes::new()).is_err());
    }

    #[test]
    fn rows_are_of_whole_blocks() {
        let error = Matrix::new(DType::Q4_K, 1, 288, vec![0; 162].into()).unwrap_err();
        assert_eq!(error, MatrixError::Columns { dtype: DType::Q4_K, cols: 288, block: 256 });
        assert!(Matrix::new(DType::Q4_K, 1, 0, Bytes::new()).is_err());
    }

    #[test]
    fn a_type_without_a_kernel_is_refused_by_name() {
        let error = Matrix::new(DType::IQ2_XS, 1, 256, vec![0; 74].into()).unwrap_err();
        assert!(error.to_string().contains("IQ2_XS"), "{error}");
    }
}
