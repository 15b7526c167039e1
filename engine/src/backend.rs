//! What computes: rbee-kernels on this machine's CPU, or Candle's own operations on any device. Layers ask which and do the same with either.

use crate::LoadError;
use crate::buffers::Buffers;
use candle_core::{CpuStorage, CustomOp1, InplaceOp1, InplaceOp2, Layout, Result, Shape, Tensor, bail};
use rbee_kernels::{Cpu, Isa};

/// Where a model is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// This machine's CPU, by rbee-kernels with the widest instructions that it has.
    #[default]
    Cpu,
    /// The same with given instructions.
    CpuWith(Isa),
    /// This machine's CPU, by Candle's own operations: slower; what is computed is what GPUs compute.
    CandleCpu,
    /// A GPU of NVIDIA, by its number.
    #[cfg(feature = "cuda")]
    Cuda(usize),
    /// A GPU of Apple, by its number.
    #[cfg(feature = "metal")]
    Metal(usize),
}

/// A device that is ready.
pub enum Backend {
    Kernels(Kernels),
    Candle(candle_core::Device),
}

/// rbee-kernels' processor as Candle's operations on contiguous f32 tensors.
pub struct Kernels {
    pub cpu: Cpu,
    buffers: Buffers,
}

impl Backend {
    /// Makes a device ready; `threads` compute on the CPU.
    ///
    /// # Errors
    /// [`LoadError::Threads`], [`LoadError::Device`].
    pub fn new(device: Device, threads: usize) -> std::result::Result<Self, LoadError> {
        Ok(match device {
            Device::Cpu => Self::kernels(Isa::detect(), threads)?,
            Device::CpuWith(isa) => Self::kernels(isa, threads)?,
            Device::CandleCpu => Self::Candle(candle_core::Device::Cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => Self::Candle(candle_core::Device::new_cuda(number)?),
            #[cfg(feature = "metal")]
            Device::Metal(number) => Self::Candle(candle_core::Device::new_metal(number)?),
        })
    }

    fn kernels(isa: Isa, threads: usize) -> std::result::Result<Self, LoadError> {
        let cpu = Cpu::with_isa(threads.max(1), isa).map_err(LoadError::Threads)?;
        Ok(Self::Kernels(Kernels { cpu, buffers: Buffers::default() }))
    }

    /// Where tensors lie.
    pub fn device(&self) -> &candle_core::Device {
        match self {
            Self::Kernels(_) => &candle_core::Device::Cpu,
            Self::Candle(device) => device,
        }
    }

    /// Takes back a result that is needed no more, of which there is no clone and no view.
    pub fn recycle(&self, tensor: Tensor) -> Result<()> {
        match self {
            Self::Kernels(kernels) => tensor.inplace_op1(&Recycle(&kernels.buffers)),
            Self::Candle(_) => Ok(()),
        }
    }
}

impl Kernels {
    /// The result of a function from one slice to another, both in row-major order. What stands in the other before is anything.
    pub fn map(
        &self,
        name: &'static str,
        x: &Tensor,
        shape: impl Into<Shape>,
        run: impl Fn(&[f32], &mut [f32]),
    ) -> Result<Tensor> {
        x.apply_op1_no_bwd(&Map { name, shape: shape.into(), buffers: &self.buffers, run })
    }

    /// Changes a tensor's numbers, in row-major order.
    pub fn change(&self, name: &'static str, x: &Tensor, run: impl Fn(&mut [f32])) -> Result<()> {
        x.inplace_op1(&Change { name, run })
    }

    /// Changes a tensor's numbers by another's, both in row-major order.
    pub fn change_by(
        &self,
        name: &'static str,
        x: &Tensor,
        y: &Tensor,
        run: impl Fn(&mut [f32], &[f32]),
    ) -> Result<()> {
        x.inplace_op2(y, &ChangeBy { name, run })
    }
}

struct Map<'a, F> {
    name: &'static str,
    shape: Shape,
    buffers: &'a Buffers,
    run: F,
}

impl<F: Fn(&[f32], &mut [f32])> CustomOp1 for Map<'_, F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(self.name, storage, layout)?;
        let length = self.shape.elem_count();
        // The buffer may be longer than the tensor, which begins at its start.
        let mut out = self.buffers.take(length);
        (self.run)(x, &mut out[..length]);
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }
}

struct Recycle<'a>(&'a Buffers);

impl InplaceOp1 for Recycle<'_> {
    fn name(&self) -> &'static str {
        "recycle"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        if let CpuStorage::F32(numbers) = storage {
            self.0.give(std::mem::take(numbers));
        }
        Ok(())
    }
}

struct Change<F> {
    name: &'static str,
    run: F,
}

impl<F: Fn(&mut [f32])> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.run)(slice_mut(self.name, storage, layout)?);
        Ok(())
    }
}

struct ChangeBy<F> {
    name: &'static str,
    run: F,
}

impl<F: Fn(&mut [f32], &[f32])> InplaceOp2 for ChangeBy<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, to_layout: &Layout, by: &CpuStorage, by_layout: &Layout) -> Result<()> {
        (self.run)(slice_mut(self.name, to, to_layout)?, slice(self.name, by, by_layout)?);
        Ok(())
    }
}

/// Runs a function on a contiguous f32 tensor's numbers, in row-major order.
pub fn with_slice<T>(tensor: &Tensor, run: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => Ok(run(slice("with_slice", storage, layout)?)),
        _ => bail!("a tensor of another device than the CPU"),
    }
}

fn slice<'a>(name: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("{name} computes on contiguous f32 tensors only"),
    }
}

fn slice_mut<'a>(name: &str, storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("{name} computes on contiguous f32 tensors only"),
    }
}
