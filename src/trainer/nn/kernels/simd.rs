//! Vector registers and the register tile: the only module of the trainer that contains `unsafe`.
//!
//! Every operation works on a block of [`LANES`] numbers, whatever the width of the machine's registers, so the order
//! of additions, and with fused multiply-add every bit of a result, is the same on AVX-512, AVX2 and NEON. The baseline
//! rounds after each multiplication where the processor has no fused form, so it agrees only to rounding.
//!
//! Soundness rests on tokens: [`Avx512`] and [`Avx2`] cannot be made outside this module, and are made here only after
//! the processor was asked. A function that holds a token may therefore run the instructions it stands for.
//!
//! It must not know layers, shapes or training: it offers numbers in registers and one bounds-checked tile.
#![expect(
    unsafe_code,
    reason = "vector instructions and the unchecked inner loop of the tile live here and nowhere else"
)]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64 as arch;
use std::fmt;

/// Numbers in one block: the unit every kernel works in, and the divisor of every padded length.
pub const LANES: usize = 16;

/// One block in memory.
pub type Block = [f32; LANES];

/// The instruction set that kernels run on. A value proves that this processor has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// Instructions that every processor of the target architecture has.
    pub const BASELINE: Isa = Isa(Kind::Baseline);

    /// Every instruction set of this processor, the fastest first, the baseline last.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::with_capacity(3);
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                found.push(Isa(Kind::Avx512));
            }
            if avx2 {
                found.push(Isa(Kind::Avx2));
            }
        }
        // Part of the architecture; nothing to ask for.
        #[cfg(target_arch = "aarch64")]
        found.push(Isa(Kind::Neon));
        found.push(Isa::BASELINE);
        found
    }

    /// The fastest instruction set of this processor.
    pub fn detect() -> Isa {
        Isa::available().first().copied().unwrap_or(Isa::BASELINE)
    }

    /// The instruction set of that [name](Isa::name), if this processor has it.
    pub fn named(name: &str) -> Option<Isa> {
        Isa::available().into_iter().find(|isa| isa.name() == name)
    }

    /// `avx512`, `avx2`, `neon` or `baseline`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Kind::Baseline => kernel.run(Baseline(())),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kind::Avx2` is only made in `available`, after AVX2 and FMA were detected.
            Kind::Avx2 => unsafe { run_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kind::Avx512` is only made in `available`, after AVX-512F, AVX2 and FMA were detected.
            Kind::Avx512 => unsafe { run_avx512(kernel) },
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => kernel.run(Neon(())),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Work that is compiled once for each instruction set. Implementations mark `run` `#[inline(always)]`, as everything
/// below it: only what is inlined into the entry point is compiled with the wide instructions.
pub trait Kernel {
    /// What the work yields.
    type Output;
    /// Does the work on `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

mod sealed {
    pub trait Sealed {}
}

/// Arithmetic on blocks. The implementing value is the proof that the processor has the instructions.
pub trait Simd: Copy + sealed::Sealed {
    /// A block held in registers.
    type V: Copy;
    /// Rows of the tallest register tile one block wide that leaves no accumulator in memory.
    const ROWS: usize;
    /// Rows of the tallest register tile two blocks wide; 0 where there are too few registers for one.
    const DOUBLE_ROWS: usize;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// A block from memory.
    fn load(self, x: &Block) -> Self::V;
    /// A block to memory.
    fn store(self, v: Self::V, out: &mut Block);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the processor can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where it is greater than `b`, else `b`; so a NaN in `b` is kept.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `yes` where `a` is greater than `b`, else (also for NaN) `no`.
    fn where_greater(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// `yes` where `a` equals `b`, else (also for NaN) `no`.
    fn where_equal(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// The sum of all lanes, added up pairwise in a fixed order.
    #[inline(always)]
    fn total(self, v: Self::V) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        let mut width = LANES / 2;
        while width > 0 {
            let (lower, upper) = lanes.split_at_mut(width);
            lower.iter_mut().zip(upper).for_each(|(a, b)| *a += *b);
            width /= 2;
        }
        lanes[0]
    }
    /// Rows become columns.
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES];
}

/// The broadcast operand of a tile: element `(i, p)` of a run that begins at `r` is `values[r + rows[i] + p * step]`.
pub struct Broadcast<'a, const M: usize> {
    /// Where the elements lie.
    pub values: &'a [f32],
    /// Where each row begins.
    pub rows: [usize; M],
    /// Distance between neighbours in a row.
    pub step: usize,
}

/// The vector operand of a tile: row `p` of a run that begins at `r` starts at `values[r + p * stride]`.
pub struct Vectors<'a> {
    /// Where the rows lie.
    pub values: &'a [f32],
    /// Distance between rows.
    pub stride: usize,
}

/// One run of consecutive products: where it begins in the broadcast operand and in the vectors.
#[derive(Clone, Copy, Default)]
pub struct Run {
    /// Index into the broadcast operand.
    pub broadcast: usize,
    /// Index into the vectors.
    pub vectors: usize,
}

/// The register tile: `sums[i][n] + sum over runs, p < k of a(i, p) * b(p, n)`, `n` counting blocks.
///
/// # Panics
/// If an operand is too short for `k` products from the beginning of a run.
#[inline(always)]
pub fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    mut sums: [[S::V; N]; M],
    a: Broadcast<'_, M>,
    b: Vectors<'_>,
    runs: impl Iterator<Item = Run>,
    k: usize,
) -> [[S::V; N]; M] {
    let Some(last) = k.checked_sub(1) else { return sums };
    let mut furthest = 0;
    for row in a.rows {
        furthest = furthest.max(row);
    }
    // The furthest that a run reaches into each operand, and so the last place where one may begin.
    let a_reach = last.saturating_mul(a.step).saturating_add(furthest).saturating_add(1);
    let b_reach = last.saturating_mul(b.stride).saturating_add(N * LANES);
    assert!(a_reach <= a.values.len() && b_reach <= b.values.len(), "operands shorter than the product");
    let (a_limit, b_limit) = (a.values.len() - a_reach, b.values.len() - b_reach);
    for run in runs {
        assert!(run.broadcast <= a_limit && run.vectors <= b_limit, "operands shorter than the product");
        for p in 0..k {
            let mut columns = [simd.splat(0.0); N];
            for (n, column) in columns.iter_mut().enumerate() {
                let at = run.vectors + p * b.stride + n * LANES;
                // SAFETY: p <= last and n < N, so the block ends at most `b_reach` after the run's beginning, which lies
                // at least that far before the end; `Block` is an array of f32 and needs no more alignment than f32.
                *column = simd.load(unsafe { &*b.values.as_ptr().add(at).cast::<Block>() });
            }
            for (row, sums) in a.rows.iter().zip(&mut sums) {
                let at = run.broadcast + row + p * a.step;
                // SAFETY: p <= last and row <= furthest, so the element ends at most `a_reach` after the run's beginning,
                // which lies at least that far before the end.
                let x = simd.splat(unsafe { *a.values.as_ptr().add(at) });
                for (sum, column) in sums.iter_mut().zip(&columns) {
                    *sum = simd.mul_add(x, *column, *sum);
                }
            }
        }
    }
    sums
}

/// A grid of `R` rows and `C` columns of blocks in memory.
#[derive(Clone, Copy)]
pub struct Grid<const R: usize, const C: usize> {
    /// Index of the first block.
    pub begin: usize,
    /// Distance from one row to the next.
    pub row: usize,
    /// Distance from one column to the next.
    pub column: usize,
}

impl Grid<1, 1> {
    /// One block.
    #[inline(always)]
    pub fn block(begin: usize) -> Grid<1, 1> {
        Grid { begin, row: 0, column: 0 }
    }
}

impl<const R: usize, const C: usize> Grid<R, C> {
    /// # Panics
    /// If the grid reaches beyond `length`.
    #[inline(always)]
    fn check(self, length: usize) {
        let reach = (R - 1).saturating_mul(self.row).saturating_add((C - 1).saturating_mul(self.column));
        let end = self.begin.saturating_add(reach).saturating_add(LANES);
        assert!(end <= length, "the grid reaches beyond the tensor");
    }

    /// Reads the grid.
    ///
    /// # Panics
    /// If it reaches beyond `values`.
    #[inline(always)]
    pub fn load<S: Simd>(self, simd: S, values: &[f32]) -> [[S::V; C]; R] {
        self.check(values.len());
        let mut blocks = [[simd.splat(0.0); C]; R];
        for (y, row) in blocks.iter_mut().enumerate() {
            for (x, block) in row.iter_mut().enumerate() {
                let at = self.begin + y * self.row + x * self.column;
                // SAFETY: y < R and x < C, so the block ends at or before the end that `check` compared.
                *block = simd.load(unsafe { &*values.as_ptr().add(at).cast::<Block>() });
            }
        }
        blocks
    }

    /// Writes the grid; where blocks overlap, later ones win.
    ///
    /// # Panics
    /// If it reaches beyond `out`.
    #[inline(always)]
    pub fn store<S: Simd>(self, simd: S, blocks: [[S::V; C]; R], out: &mut [f32]) {
        self.check(out.len());
        for (y, row) in blocks.into_iter().enumerate() {
            for (x, block) in row.into_iter().enumerate() {
                let at = self.begin + y * self.row + x * self.column;
                // SAFETY: as in `load`; `out` is borrowed mutably, and each reference ends before the next is made.
                simd.store(block, unsafe { &mut *out.as_mut_ptr().add(at).cast::<Block>() });
            }
        }
    }
}

/// Plain arithmetic on any processor.
#[derive(Clone, Copy)]
pub struct Baseline(());

impl sealed::Sealed for Baseline {}

impl Simd for Baseline {
    type V = Block;
    const ROWS: usize = 2;
    const DOUBLE_ROWS: usize = 0;

    #[inline(always)]
    fn splat(self, x: f32) -> Block {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, x: &Block) -> Block {
        *x
    }
    #[inline(always)]
    fn store(self, v: Block, out: &mut Block) {
        *out = v;
    }
    #[inline(always)]
    fn add(self, a: Block, b: Block) -> Block {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Block, b: Block) -> Block {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Block, b: Block) -> Block {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Block, b: Block) -> Block {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn sqrt(self, a: Block) -> Block {
        std::array::from_fn(|i| a[i].sqrt())
    }
    #[inline(always)]
    fn mul_add(self, a: Block, b: Block, c: Block) -> Block {
        // Where fused multiply-add is not an instruction, `f32::mul_add` would be a library call per number.
        if cfg!(target_arch = "aarch64") {
            std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }
    #[inline(always)]
    fn max(self, a: Block, b: Block) -> Block {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn where_greater(self, a: Block, b: Block, yes: Block, no: Block) -> Block {
        std::array::from_fn(|i| if a[i] > b[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    fn where_equal(self, a: Block, b: Block, yes: Block, no: Block) -> Block {
        std::array::from_fn(|i| if a[i] == b[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    fn transpose(self, rows: [Block; LANES]) -> [Block; LANES] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }
}

mod product;
pub use product::Product;

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub use neon::Neon;

#[cfg(target_arch = "aarch64")]
mod neon;
