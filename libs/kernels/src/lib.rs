//! Pure arithmetic on the CPU: matrix products over GGUF's blocks, attention, norms.
//!
//! Every kernel runs on the widest instructions found at run time ([`Isa`]) and on all threads of a [`Pool`]. The order
//! of floating-point operations of one row of output depends neither on how many rows a call has, nor on the number of
//! threads: the same row gives the same bits in any batch. Different instruction sets may differ in the last bits, and
//! round activations for some data types differently.

mod activation;
mod attention;
mod elementwise;
mod isa;
mod kv_cache;
mod matmul;
mod norm;
mod pool;
mod rope;
#[cfg(test)]
mod testing;
mod vector;

pub use activation::{Activation, activate, gated};
pub use attention::{Attention, Row, Strided, attention};
pub use elementwise::{HeadSpan, add, add_bias, log_sum_exp, scale, softcap};
pub use isa::Isa;
pub use kv_cache::{KvCache, KvShape};
pub use matmul::{Matrix, MatrixError, matmul};
pub use norm::{layer_norm, rms_norm, rms_norm_heads};
pub use pool::Pool;
pub use rope::{Angles, RopeStyle, RopeTable, rope};

use std::io;

/// What kernels run on: instructions and threads.
pub struct Cpu {
    pub isa: Isa,
    pub pool: Pool,
}

impl Cpu {
    /// The best instructions of this processor on `threads` threads.
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::with_isa(threads, Isa::detect())
    }

    /// Given instructions on `threads` threads; an error when the processor lacks them.
    pub fn with_isa(threads: usize, isa: Isa) -> io::Result<Self> {
        if !isa.is_available() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("this processor has no {isa}")));
        }
        Ok(Self { isa, pool: Pool::new(threads)? })
    }
}
