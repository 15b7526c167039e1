//! Small products of matrices whose sums stay in registers: scores, and weighted sums of values.

use crate::vector::{Element, Kernel, Simd, WIDTH};

/// `c[r][0..16 columns] = sum over i of a[r][i] b[i][0..16 columns]`, added to what `c` holds where `onto`.
///
/// Every element of `c` is one chain of fused multiplications and additions in ascending `i`, so neither the number of rows nor
/// cutting `depth` in two calls (the second one `onto`) changes its bits. Rows of `a` are `a_stride` apart, those of `c` `c_stride`.
/// Element i of column j (16 lanes) of `b` begins at `i * b_step + j * b_column`.
pub(super) struct Product<'a, E> {
    pub a: &'a [f32],
    pub a_stride: usize,
    pub b: &'a [E],
    pub b_step: usize,
    pub b_column: usize,
    pub c: &'a mut [f32],
    pub c_stride: usize,
    /// At most [`RowsAtOnce`].
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
    pub onto: bool,
}

/// The most rows of a [`Product`].
pub(super) struct RowsAtOnce;

impl Kernel for RowsAtOnce {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::ROWS
    }
}

impl<E: Element> Kernel for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Product { rows, depth, columns, .. } = self;
        assert!(0 < rows && rows <= S::ROWS && 0 < depth && 0 < columns);
        assert!((rows - 1) * self.a_stride + depth <= self.a.len());
        assert!((depth - 1) * self.b_step + (columns - 1) * self.b_column + WIDTH <= self.b.len());
        assert!((rows - 1) * self.c_stride + columns * WIDTH <= self.c.len());
        match rows {
            1 => self.rows::<S, 1>(simd),
            2 => self.rows::<S, 2>(simd),
            3 => self.rows::<S, 3>(simd),
            4 => self.rows::<S, 4>(simd),
            5 => self.rows::<S, 5>(simd),
            6 => self.rows::<S, 6>(simd),
            7 => self.rows::<S, 7>(simd),
            _ => self.rows::<S, 8>(simd),
        }
    }
}

impl<E: Element> Product<'_, E> {
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S) {
        if R > S::ROWS {
            return;
        }
        let (wide, mut column) = (S::columns(R), 0);
        // SAFETY: `run` has checked that all rows and columns lie inside of the slices.
        unsafe {
            while wide >= 4 && self.columns - column >= 4 {
                self.strip::<S, R, 4>(simd, column);
                column += 4;
            }
            while wide >= 2 && self.columns - column >= 2 {
                self.strip::<S, R, 2>(simd, column);
                column += 2;
            }
            while column < self.columns {
                self.strip::<S, R, 1>(simd, column);
                column += 1;
            }
        }
    }

    /// # Safety
    /// R rows and `column + C` columns lie inside of the slices.
    #[inline(always)]
    unsafe fn strip<S: Simd, const R: usize, const C: usize>(&mut self, simd: S, column: usize) {
        let (a, c) = (self.a.as_ptr(), self.c.as_mut_ptr());
        let b = self.b.as_ptr().wrapping_add(column * self.b_column);
        let c = c.wrapping_add(column * WIDTH);
        let mut sums = [[simd.splat(0.0); C]; R];
        // SAFETY: the caller's promise.
        unsafe {
            if self.onto {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = simd.load(c.add(r * self.c_stride + j * WIDTH));
                    }
                }
            }
            for i in 0..self.depth {
                let mut values = [simd.splat(0.0); C];
                for (j, value) in values.iter_mut().enumerate() {
                    *value = E::load(simd, b.add(i * self.b_step + j * self.b_column));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let factor = simd.splat(*a.add(r * self.a_stride + i));
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = simd.mul_add(factor, value, *sum);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    simd.store(*sum, c.add(r * self.c_stride + j * WIDTH));
                }
            }
        }
    }
}
